"""What may be sold now: one SKU or a cart, in the network, by node, or near a place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field
from pydantic_core import to_json

from api import examples
from api.schemas import Closed, Code, Text
from api.security import ReadsStock, whole_network
from api.services import Services
from domain.availability import Bools, Ints, Level, Offer, level
from domain.errors import Invalid, NotFound
from domain.geography import Place, locate
from domain.orders import DeliveryMethod
from domain.values import Value
from storage.access import Access
from storage.availability import Bundle, Sale
from storage.stock_view import Seen, StockView

router = APIRouter(prefix="/v1", tags=["stock"])

_MOST_NODES: Final = 2000


class HowToAnswer(Closed):
    """
    `channel` need not be named by a key that is bound to one. `by_node` adds what each node has.
    `postal_code` lists the nodes near it, the nearest first; so does `node` those that it names,
    and `by_node` those of a pickup. "coarse" tells no numbers.
    """

    channel: Annotated[str, Field(max_length=31, description="who sells")] = ""
    method: Annotated[DeliveryMethod, Field(description="how it leaves")] = DeliveryMethod.SHIP
    view: Annotated[
        Literal["units", "coarse"], Field(description="`coarse` tells levels, no numbers")
    ] = "units"
    by_node: Annotated[bool, Field(description="what each node has, too")] = False
    node: Annotated[
        tuple[Text, ...], Field(max_length=_MOST_NODES, description="these nodes only; several")
    ] = ()
    postal_code: Annotated[str, Field(max_length=16, description="nodes near it")] = ""
    country: Annotated[
        str, Field(pattern=r"^[A-Z]{2}$", description="of the postal code, ISO 3166-1")
    ] = "US"
    within_miles: Annotated[
        float | None, Field(gt=0, le=13_000, description="of the postal code")
    ] = None
    limit: Annotated[int, Field(ge=1, le=_MOST_NODES, description="of listed nodes")] = 1000


class FindAvailability(HowToAnswer):
    sku: Annotated[tuple[Code, ...], Field(min_length=1, max_length=200, description="several")]


class WantedLine(Closed):
    sku: Code
    quantity: Annotated[int, Field(ge=1, le=100_000)] = 1


class AskAvailability(HowToAnswer):
    model_config = examples.of(
        {
            "lines": [{"sku": "NF-0001", "quantity": 2}, {"sku": "NF-0002"}],
            "channel": "webshop",
            "method": "pickup",
            "postal_code": "60614",
            "within_miles": 50,
        }
    )

    lines: Annotated[tuple[WantedLine, ...], Field(min_length=1, max_length=200)]


class OfSku(Value):
    """
    `available` is what one more order may get: of a pickup at the store that has the most; null in
    the coarse view. `enough` is for the quantity asked for. `nodes`, where asked for, has the units
    of each listed node that has any, or its level; promises are not yet at a node, so they may sum
    to more.
    """

    sku: str
    available: int | None
    level: Level
    enough: bool
    nodes: dict[str, int | Level] | None = None


class Nearby(Value):
    """A node that offers the method, and whether it alone has all of what was asked for."""

    node: str
    has: Literal["all", "some"]
    miles: float | None = None


class Availability(Value):
    """
    True at `as_of`, which was `age_ms` ago: never more than 1000.

    `complete`: all lines can be had together; for a pickup, at one store.
    """

    as_of: datetime
    age_ms: int
    channel: str
    method: DeliveryMethod
    complete: bool
    items: tuple[OfSku, ...]
    nodes: tuple[Nearby, ...] | None = None


@dataclass(frozen=True)
class Question:
    """What is to be answered: `wanted` maps each SKU to its quantity."""

    channel: str
    wanted: Mapping[str, int]
    how: HowToAnswer
    place: Place | None = None


def install(state: Any, services: Services) -> None:
    state.stock_view = StockView(services.engine)


def _view(request: Request) -> StockView:
    view: StockView = request.app.state.stock_view
    return view


Viewing = Annotated[StockView, Depends(_view)]


@router.get("/availability", response_model=Availability)
async def availability(
    access: ReadsStock, view: Viewing, asked: Annotated[FindAvailability, Query()]
) -> Response:
    """What may be sold now of some SKUs, for a channel and a delivery method."""
    return await _answered(access, view, asked, dict.fromkeys(asked.sku, 1))


@router.post("/availability", response_model=Availability)
async def cart(access: ReadsStock, view: Viewing, asked: AskAvailability) -> Response:
    """Whether a cart can be had now, and where."""
    wanted: Counter[str] = Counter()
    for line in asked.lines:
        wanted[line.sku] += line.quantity
    return await _answered(access, view, asked, wanted)


async def _answered(
    access: Access, view: StockView, how: HowToAnswer, wanted: Mapping[str, int]
) -> Response:
    whole_network(access)
    question = Question(own_channel(access, how.channel), wanted, how, _place(how))
    said = answer(await view.read(list(wanted)), question)
    return Response(to_json(said), media_type="application/json")


def answer(seen: Seen, question: Question) -> dict[str, Any]:
    """An `Availability` in plain parts, as it may have thousands of numbers."""
    how, channel, wanted = question.how, question.channel, question.wanted
    offers = {sku: seen.offer(sku, channel, how.method) for sku in wanted}
    items = [_item(sku, offers[sku], question) for sku in wanted]
    said: dict[str, Any] = {
        "as_of": seen.as_of,
        "age_ms": seen.age_ms,
        "channel": channel,
        "method": how.method,
        "complete": all(item["enough"] for item in items),
        "items": items,
        "nodes": None,
    }
    pickup = how.method is DeliveryMethod.PICKUP
    listed = bool(how.node) or question.place is not None or (pickup and how.by_node)
    if seen.kits and not pickup:
        said["complete"] = said["complete"] and _together(seen, question)
    if listed or pickup:
        at = _at(seen, offers)
        complete = _complete(seen, question, at)
        if pickup:
            said["complete"] = bool(complete.any())
        if listed:
            _add_nodes(said, seen, question, at, complete)
    return said


def _at(seen: Seen, offers: Mapping[str, Offer]) -> Ints:
    """What each outlet has of each SKU."""
    at = np.zeros((len(offers), len(seen.outlets.codes)), dtype=np.int64)
    for row, (sku, offer) in zip(at, offers.items(), strict=True):
        row[slice(None) if sku in seen.kits else seen.positions[sku].nodes] = offer.at
    return at


def _complete(seen: Seen, question: Question, at: Ints) -> Bools:
    """Which outlets have all of it; a kit and a component of it are counted together."""
    wanted, channel, method = question.wanted, question.channel, question.how.method
    quantities = np.array(list(wanted.values()), dtype=np.int64)
    complete: Bools = np.logical_and.reduce(at >= quantities[:, None])
    if seen.kits:
        units = Counter[str]()
        for sku, quantity in wanted.items():
            for part, each in _parts(seen, sku):
                units[part] += each * quantity
        alone = {sku: seen.offer(sku, channel, method) for sku in units}
        there = _at(seen, alone) >= np.array(list(units.values()), dtype=np.int64)[:, None]
        complete &= np.logical_and.reduce(there)
    return complete


def _together(seen: Seen, question: Question) -> bool:
    """Whether a cart with kits can be had at once, as it would be reserved."""
    sale = Sale(seen.outlets, dict(seen.positions))
    for sku, quantity in sorted(question.wanted.items(), key=lambda item: item[0] not in seen.kits):
        parts = _parts(seen, sku)
        if (kit := seen.kits.get(sku)) is not None:
            lines = tuple(("", part, each) for part, each in parts)
            bundle = Bundle(sku, quantity, kit.together, lines)
            left = sale.kits_left(bundle, question.channel)
        else:
            left = sale.left(sku, question.channel)
        if left < quantity:
            return False
        for part, each in parts:
            sale.took(part, question.channel, each * quantity)
    return True


def _parts(seen: Seen, sku: str) -> list[tuple[str, int]]:
    kit = seen.kits.get(sku)
    return [(c.sku, c.quantity) for c in kit.components] if kit else [(sku, 1)]


def _item(sku: str, offer: Offer, question: Question) -> dict[str, Any]:
    how = question.how
    return {
        "sku": sku,
        "available": offer.units if how.view == "units" else None,
        "level": level(offer.units, offer.few),
        "enough": offer.units >= question.wanted[sku],
        "nodes": _told(offer.nodes, offer.few, how) if how.by_node else None,
    }


def _told(nodes: Mapping[str, int], few: int, how: HowToAnswer) -> Mapping[str, int | Level]:
    if how.view == "units":
        return nodes
    return {code: level(units, few) for code, units in nodes.items()}


def _add_nodes(
    said: dict[str, Any], seen: Seen, question: Question, at: Ints, complete: Bools
) -> None:
    """The nodes that have something, and what each of them has of every SKU."""
    numbers, miles = _chosen(seen, question, np.logical_or.reduce(at > 0))
    codes = [seen.outlets.codes[number] for number in numbers.tolist()]
    said["nodes"] = [
        {"node": code, "has": "all" if has_all else "some", "miles": far}
        for code, has_all, far in zip(codes, complete[numbers].tolist(), miles, strict=True)
    ]
    for item, units in zip(said["items"], at[:, numbers].tolist(), strict=True):
        few = seen.offer(item["sku"], question.channel, question.how.method).few
        there = {code: n for code, n in zip(codes, units, strict=True) if n}
        item["nodes"] = _told(there, few, question.how)


def _chosen(
    seen: Seen, question: Question, some: Bools
) -> tuple[npt.NDArray[np.intp], Sequence[float | None]]:
    """Of these outlets as many as were asked for, by distance or by code, and their miles."""
    outlets, how, place = seen.outlets, question.how, question.place
    if how.node:
        some &= np.isin(np.array(outlets.codes, dtype=np.str_), how.node)
    numbers = np.flatnonzero(some)
    if place is None:
        numbers = numbers[: how.limit]
        return numbers, [None] * len(numbers)
    miles = outlets.miles_from(place.latitude, place.longitude)[numbers]
    order = np.argsort(miles, kind="stable")
    if how.within_miles is not None:
        order = order[miles[order] <= how.within_miles]
    order = order[: how.limit]
    return numbers[order], miles[order].round(1).tolist()


def _place(asked: HowToAnswer) -> Place | None:
    if asked.within_miles is not None and not asked.postal_code:
        raise Invalid("within_miles: say of where, with postal_code")
    if not asked.postal_code:
        return None
    place = locate(asked.postal_code, asked.country)
    if place is None:
        raise Invalid("country: distances are known within the US only; leave postal_code out")
    return place


def own_channel(access: Access, channel: str) -> str:
    """The channel to answer for. A key bound to one need not name it."""
    if access.channels is None or channel in access.channels:
        return channel
    if channel:
        raise NotFound(f"there is no channel {channel}")
    if len(access.channels) != 1:
        raise Invalid("channel: this key is bound to several channels; name one of them")
    return access.channels[0]
