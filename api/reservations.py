"""Units kept for carts, checkouts and orders that live elsewhere, each under its caller's key."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Annotated, Any, Final, Self
from uuid import uuid4

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, status
from pydantic import Field, model_validator
from pydantic_core import to_json
from sqlalchemy.ext.asyncio import AsyncConnection

from api import examples, problems, sold
from api.problems import Forbidden, Unfit
from api.schemas import Closed, Code, Note, PageOf, Text
from api.security import WritesOrders, actor, needs, own_channel, sees_order
from api.services import Services, Serving
from domain.errors import Invalid, NotFound
from domain.fulfillments import LineQuantity
from domain.orders import RESERVATION_KEY, Units, reservation_id
from storage import claims, inbox, network, reservations, reserved
from storage.access import Access
from storage.asks import Answer, Ask
from storage.batching import Batcher
from storage.database import transaction
from storage.reads import Page
from storage.reserved import Reserved, State

router = APIRouter(prefix="/v1/reservations", tags=["reservations"])

LONGEST: Final = 86_400
_CHANNEL: Final = r"^[a-z0-9][a-z0-9-]{0,30}$"
_LONGEST_ID: Final = 18
_VERBS: Final = problems.documented(404, 409)

Channel = Annotated[str, Path(pattern=_CHANNEL)]
Key = Annotated[str, Path(pattern=rf"^{RESERVATION_KEY}$")]
ReadsReservations = Annotated[Access, needs("orders:read", "orders:write")]


class WantedUnits(Closed):
    """`line_id` is the caller's; a line without one has its number. `sku` or an alias of it."""

    line_id: Annotated[str, Field(max_length=64)] = ""
    sku: Code
    quantity: Annotated[int, Field(ge=1, le=100_000)]


class MakeReservation(Closed):
    """
    Units to keep under the caller's `key`, from the network or at a `node` (a pickup).

    A cart or a checkout says for how long, `ttl_seconds`; what is an order's already names it and
    does not run out. All lines or none, unless `partial`.
    """

    model_config = examples.of(examples.RESERVATION)

    channel: Annotated[str, Field(pattern=_CHANNEL)]
    key: Annotated[str, Field(pattern=rf"^{RESERVATION_KEY}$")]
    lines: Annotated[tuple[WantedUnits, ...], Field(min_length=1, max_length=200)]
    node: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    ttl_seconds: Annotated[int, Field(ge=1, le=LONGEST)] | None = None
    order_id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    partial: bool = False

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        names = self.line_ids()
        if len(set(names)) != len(names):
            raise ValueError("lines: each line_id may stand once; two lines share one")
        if (self.ttl_seconds is None) == (self.order_id is None):
            raise ValueError(
                f"ttl_seconds: say for how long a cart is kept, 1 to {LONGEST} s, or name the"
                " order_id whose it is already; not both"
            )
        return self

    def line_ids(self) -> list[str]:
        return [line.line_id or str(i) for i, line in enumerate(self.lines, start=1)]


class ConfirmReservation(Closed):
    model_config = examples.of({"order_id": "webshop-1001"})

    order_id: Annotated[str, Field(min_length=1, max_length=200, description="whose it is now")]


class TransferReservation(Closed):
    """To a node, or without one back to the network. Each `key` moves it once."""

    model_config = examples.of({"key": "t-1", "node": "DC-DAL"})

    key: Code
    node: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class GoneUnits(Closed):
    line_id: Annotated[str, Field(min_length=1, max_length=64)]
    quantity: Annotated[int, Field(ge=1, le=100_000)]


class FulfillReservation(Closed):
    """The units left the node that it is at; without `lines` all of them. Each `key` once."""

    model_config = examples.of({"key": "handed-over-1"})

    key: Code
    lines: Annotated[tuple[GoneUnits, ...], Field(max_length=200)] = ()


class ReleaseReservation(Closed):
    model_config = examples.of({"note": "the cart was emptied"})

    note: Note = ""


class FindReservations(PageOf):
    channel: Annotated[Text, Field(description="whose", pattern=_CHANNEL)]
    state: Annotated[State | None, Field(description="all without it")] = None


def install(app: FastAPI, services: Services) -> None:
    """One door for the process: who reserves at the same time shares a commit."""
    app.state.batcher = Batcher(services.engine)


@asynccontextmanager
async def closing(app: FastAPI) -> AsyncIterator[None]:
    """The life of the application: whoever still waits at its end is told."""
    yield
    await app.state.batcher.close()


def batcher_of(request: Request) -> Batcher:
    door: Batcher = request.app.state.batcher
    return door


Door = Annotated[Batcher, Depends(batcher_of)]


@router.post("", status_code=status.HTTP_201_CREATED, responses=problems.documented(409))
async def reserve(
    body: MakeReservation, access: WritesOrders, services: Serving, door: Door
) -> Reserved:
    """
    Keep units: all lines or none, or in part where asked so.

    The same request again is answered as it stands; another one under the same key is a conflict,
    and so is a key that was released, also before this came. An order of the channel with this key
    as its `reservation` takes the units over.
    """
    if not sees_order(access, body.channel):
        raise Forbidden(f"this key may not reserve for channel {body.channel}")
    units = await _units(services, body)
    name = reservation_id(body.channel, body.key)
    ttl = timedelta(seconds=body.ttl_seconds) if body.ttl_seconds else None
    answer = await door.reserve(
        Ask(
            name,
            body.order_id,
            units,
            body.node,
            channel=body.channel,
            actor=actor(access),
            ttl=ttl,
            partial=body.partial,
            digest=_digest(body, units),
        )
    )
    if not answer.taken:
        raise Unfit(_short(body, units, answer), code="out_of_stock")
    return await _as_it_stands(services, body.channel, body.key)


@router.get("")
async def find(
    access: ReadsReservations, services: Serving, asked: Annotated[FindReservations, Query()]
) -> Page[Reserved]:
    """What a channel's clients reserved, the newest first."""
    own_channel(access, asked.channel)
    async with transaction(services.read_engine) as conn:
        return await reserved.of_channel(
            conn,
            asked.channel,
            state=asked.state,
            before=_position(asked.cursor),
            limit=asked.limit,
        )


@router.get("/{channel}/{key}", responses=problems.documented(404))
async def get(channel: Channel, key: Key, access: ReadsReservations, services: Serving) -> Reserved:
    """One reservation, as it stands now."""
    own_channel(access, channel)
    return await _as_it_stands(services, channel, key)


@router.post("/{channel}/{key}/confirm", responses=_VERBS)
async def confirm(
    channel: Channel, key: Key, body: ConfirmReservation, access: WritesOrders, services: Serving
) -> Reserved:
    """It is an order's now and does not run out any more. Once for one order."""
    return await _done(
        services,
        access,
        (channel, key),
        lambda conn, name: reservations.confirm(conn, name, body.order_id),
    )


@router.post("/{channel}/{key}/transfer", responses=_VERBS)
async def transfer(
    channel: Channel, key: Key, body: TransferReservation, access: WritesOrders, services: Serving
) -> Reserved:
    """Move it to a node, or back to the network: all of it, and nobody ever sees it free."""

    async def moved(conn: AsyncConnection, name: str) -> None:
        missing = await reservations.transfer(
            conn, f"{name}/{body.key}", name, body.node, actor(access)
        )
        if missing:
            lacks = ", ".join(f"{units} of {sku}" for sku, units in missing.items())
            place = body.node or "the network"
            raise Unfit({"node": f"{place} lacks {lacks}; name another"}, code="out_of_stock")

    return await _done(services, access, (channel, key), moved)


@router.post("/{channel}/{key}/fulfill", responses=_VERBS)
async def fulfill(
    channel: Channel, key: Key, body: FulfillReservation, access: WritesOrders, services: Serving
) -> Reserved:
    """Its units left the node: a sale over the counter, or an order that lives elsewhere."""
    lines = [LineQuantity(line_id=x.line_id, quantity=x.quantity) for x in body.lines]
    return await _done(
        services,
        access,
        (channel, key),
        lambda conn, name: reservations.fulfill(
            conn, f"{name}/{body.key}", name, lines, actor(access)
        ),
    )


@router.post("/{channel}/{key}/release", responses=problems.documented(404))
async def release(
    channel: Channel,
    key: Key,
    access: WritesOrders,
    services: Serving,
    body: ReleaseReservation | None = None,
) -> Reserved:
    """Give back what it still holds. One that was not made yet is never made then."""
    cause = body.note if body and body.note else "released"

    async def released(conn: AsyncConnection, name: str) -> None:
        await reservations.release(conn, name, cause, actor(access))
        await inbox.wake_backordered(conn, await claims.skus_of(conn, [name]), uuid4().hex)

    return await _done(services, access, (channel, key), released)


async def _done(
    services: Services,
    access: Access,
    whose: tuple[str, str],
    verb: Callable[[AsyncConnection, str], Awaitable[Any]],
) -> Reserved:
    """The reservation after the verb, in the same transaction."""
    channel, key = whose
    own_channel(access, channel)
    async with transaction(services.engine) as conn:
        await verb(conn, reservation_id(channel, key))
        return _seen(await reserved.find(conn, channel, key), channel, key)


async def _as_it_stands(services: Services, channel: str, key: str) -> Reserved:
    async with transaction(services.engine) as conn:
        return _seen(await reserved.find(conn, channel, key), channel, key)


def _seen(found: Reserved | None, channel: str, key: str) -> Reserved:
    if found is None:
        raise NotFound(f"channel {channel} has no reservation {key}")
    return found


async def _units(services: Services, body: MakeReservation) -> tuple[Units, ...]:
    """
    The lines by the catalogue's names, a kit's by its components. Raises Unfit for a product or a
    node that is not.
    """
    async with transaction(services.read_engine) as conn:
        node = await network.node(conn, body.node) if body.node else None
        if body.node and node is None:
            message = f"there is no node {body.node}; name one that is"
            raise Unfit({"node": message}, code="not_found")
        return await sold.units_of(conn, body.lines, body.line_ids())


def _digest(body: MakeReservation, units: Sequence[Units]) -> str:
    """Of what is asked for, whatever name its products go by."""
    how = (body.node, body.ttl_seconds, body.order_id, body.partial)
    return hashlib.sha256(to_json((units, how))).hexdigest()[:32]


def _short(body: MakeReservation, units: Sequence[Units], answer: Answer) -> Mapping[str, str]:
    """Each line that is short, and what helps."""
    where = f"at {body.node}" if body.node else "for this channel"
    wanted: dict[str, int] = {}
    short: dict[str, Units] = {}
    for line in units:
        wanted[line.sku] = wanted.get(line.sku, 0) + line.quantity
        if answer.missing.get(line.sku):
            short.setdefault(line.kit.line_id if line.kit else line.line_id, line)
    cure = "ask for fewer" if body.partial else "ask for fewer, or for what there is (`partial`)"
    return {
        f"lines.{i}.quantity": f"{max(wanted[of.sku] - answer.missing[of.sku], 0)} of"
        f" {wanted[of.sku]} {of.sku} can be had {where} now; {cure}"
        for i, name in enumerate(body.line_ids())
        if (of := short.get(name))
    }


def _position(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _LONGEST_ID):
        raise Invalid("cursor: not one that a page before gave")
    return int(cursor)
