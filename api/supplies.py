"""Supply that is still to come, as its sources state it, and when so much can be had."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field

from api import examples, problems
from api.availability import Viewing, own_channel
from api.schemas import Closed, Code, Instant, PageOf, Text, Units
from api.security import ReadsStock, WritesStock, actor, own_node, whole_network
from api.services import Serving
from domain import supply
from domain.availability import with_arrivals
from domain.errors import Invalid
from domain.orders import DeliveryMethod
from domain.supply import Dated
from domain.values import Value
from storage import supplies
from storage.database import transaction
from storage.reads import Page
from storage.supplies import Standing, Supply, SupplyKind

router = APIRouter(prefix="/v1", tags=["stock"])

Source = Annotated[
    str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$", description="who tells, such as erp")
]
Ref = Annotated[
    str, Path(pattern=r"^[\w.#:+=@-]{1,64}$", description="the source's name for one SKU of it")
]


class PutSupply(Closed):
    """
    What is to come, in whole: a statement replaces the source's one before it, by `sequence`.

    `expected_at` is when it can be sold at the node. A `tentative` one is not promised from.
    """

    model_config = examples.of(
        {
            "sequence": 1,
            "kind": "purchase_order",
            "node": "DC-DAL",
            "sku": "SKU-0001",
            "quantity": 40,
            "expected_at": "2026-12-04T12:00:00Z",
        }
    )

    sequence: Annotated[int, Field(ge=0, le=2**62, description="the source's own, growing")]
    kind: SupplyKind
    node: Text
    sku: Code
    quantity: Units
    expected_at: Instant
    confidence: Literal["firm", "tentative"] = "firm"
    status: Literal["open", "cancelled"] = "open"


class SupplyTaken(Value):
    """`new` is false where this statement, or a later one, was taken before."""

    new: bool


class FindSupplies(PageOf):
    sku: Annotated[tuple[Code, ...], Field(max_length=200, description="all without it")] = ()


class FindDates(Closed):
    channel: Annotated[str, Field(max_length=31, description="who sells")] = ""
    quantity: Annotated[int | None, Field(ge=1, le=100_000, description="by when so many")] = None
    tentative: Annotated[bool, Field(description="count on what is not firm, too")] = False


class DatesOf(Value):
    """
    From each date on so many `units` can be shipped in all, and nobody else waits for them; the
    first is now. `earliest` is the first date for the quantity asked for, null where none is known.
    """

    sku: str
    channel: str
    as_of: datetime
    dates: tuple[Dated, ...]
    quantity: int | None = None
    earliest: datetime | None = None


@router.put("/supplies/{source}/{ref}", responses=problems.documented(404, 409))
async def put(
    source: Source, ref: Ref, body: PutSupply, access: WritesStock, services: Serving
) -> SupplyTaken:
    """
    State what is to come, again whenever it changes: late, twice, out of order.

    Orders that wait claim it by when they were accepted. Those whose date moves by more than a day
    are told so in their timeline, once.
    """
    own_node(access, body.node)
    stated = Supply(source=source, ref=ref, **body.model_dump())
    async with transaction(services.engine) as conn:
        for node in await supplies.nodes_of(conn, source, ref):
            own_node(access, node)
        return SupplyTaken(new=await supplies.put(conn, stated, actor(access)))


@router.get("/supplies")
async def find(
    access: ReadsStock, services: Serving, asked: Annotated[FindSupplies, Query()]
) -> Page[Standing]:
    """What is to come, what has come of it, and how much of it orders wait for."""
    after = _position(asked.cursor) if asked.cursor else None
    async with transaction(services.read_engine) as conn:
        found = await supplies.find(
            conn, asked.sku or None, access.nodes, after=after, limit=asked.limit
        )
    last = found[-1] if len(found) == asked.limit else None
    return Page(items=found, next=f"{last.source}/{last.ref}" if last else None)


@router.get("/availability/{sku:path}/dates")
async def dates(
    sku: Annotated[Code, Path()],
    access: ReadsStock,
    view: Viewing,
    services: Serving,
    asked: Annotated[FindDates, Query()],
) -> DatesOf:
    """From when on how many of a SKU can be shipped for a channel, with what is still to come."""
    whole_network(access)
    channel = own_channel(access, asked.channel)
    seen = await view.read([sku])
    kit = seen.kits.get(sku)
    parts = [part.sku for part in kit.components] if kit else [sku]
    async with transaction(services.read_engine) as conn:
        coming = await supplies.unclaimed(conn, parts, tentative=asked.tentative)
    offers = seen.outlets.offers(channel, DeliveryMethod.SHIP)
    shown = {code for code, offered in zip(seen.outlets.codes, offers, strict=True) if offered}

    def to_sell(arrived: supply.Arrivals) -> int:
        after = {
            part: with_arrivals(seen.outlets, seen.positions[part], units)
            for part, units in arrived.items()
        }
        then = seen._replace(positions={**seen.positions, **after}, offers={})
        return then.offer(sku, channel, DeliveryMethod.SHIP).units

    here = {part: [c for c in some if c.node in shown] for part, some in coming.items()}
    told = supply.outlook(seen.as_of, here, to_sell)
    earliest = None if asked.quantity is None else supply.earliest(asked.quantity, told)
    return DatesOf(
        sku=sku,
        channel=channel,
        as_of=seen.as_of,
        dates=told,
        quantity=asked.quantity,
        earliest=earliest,
    )


def _position(cursor: str) -> tuple[str, str]:
    source, slash, ref = cursor.partition("/")
    if not slash:
        raise Invalid("cursor: not one that a page before gave")
    return source, ref
