"""Stock as partners tell of it, row by row or as a file, and what was made of it."""

from __future__ import annotations

import tempfile
from http import HTTPStatus
from typing import Annotated, Any, Final, Literal
from uuid import uuid4

from fastapi import APIRouter, Path, Query, Request
from pydantic import ConfigDict, Field, field_validator
from pydantic.config import JsonDict
from starlette.exceptions import HTTPException

from api import loading, problems
from api.intake import ask_back, wake_backordered
from api.loading import Loaded
from api.schemas import Closed, Code, Instant, PageOf, Text
from api.security import Operates, ReadsStock, WritesStock, actor, own_node, sees_node
from api.services import Serving
from domain.errors import Conflict, Invalid, NotFound
from domain.stock_rows import MOST_UNITS, BadRow, Format
from domain.values import Value
from storage import feeds, history, shortages
from storage.access import Access
from storage.database import transaction
from storage.feeds import Delta, Reason, Rejected, ShortShelf, Snapshot
from storage.history import Movement
from storage.reads import Page
from storage.shortages import Affected, StockException

router = APIRouter(prefix="/v1/stock", tags=["stock"])

_MOST_ERRORS: Final = 100
_LONGEST_ID: Final = 18
_FORMATS: Final[dict[str, Format]] = {"text/csv": "csv", "application/x-ndjson": "ndjson"}
_BULK_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {
                "schema": {"type": "string"},
                "example": "sku,node,on_hand\nSKU-0001,DC-DAL,12\n",
            },
            "application/x-ndjson": {
                "schema": {"type": "string"},
                "example": '{"sku": "SKU-0001", "node": "DC-DAL", "on_hand": 12}\n',
            },
        },
    }
}

_EXAMPLE_FEED: Final[JsonDict] = {
    "feed_id": "2026-11-22/17",
    "rows": [
        {
            "kind": "snapshot",
            "node": "DC-DAL",
            "sku": "SKU-0001",
            "sequence": 118,
            "at": "2026-01-22T10:00:00Z",
            "on_hand": 40,
        },
        {
            "kind": "delta",
            "node": "DC-DAL",
            "sku": "SKU-0001",
            "sequence": 119,
            "at": "2026-01-22T10:01:00Z",
            "change": -2,
            "reason": "damaged",
        },
    ],
}

Source = Annotated[
    str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$", description="who tells, such as wms-dal")
]
ExceptionId = Annotated[int, Path(ge=1, le=2**62, description="of a short shelf")]
Sequence = Annotated[int, Field(ge=0, le=2**62, description="the source's own number, growing")]


class FeedSnapshot(Closed):
    """What lies on the shelf at `at`; every change of the source up to `sequence` is in it."""

    kind: Literal["snapshot"]
    node: Text
    sku: Code
    sequence: Sequence
    at: Instant
    on_hand: Annotated[int, Field(ge=0, le=MOST_UNITS)]


class FeedDelta(Closed):
    """What came or went otherwise than by our own shipments and receipts."""

    kind: Literal["delta"]
    node: Text
    sku: Code
    sequence: Sequence
    at: Instant
    change: Annotated[int, Field(ge=-MOST_UNITS, le=MOST_UNITS)]
    reason: Reason = "adjusted"

    @field_validator("change")
    @classmethod
    def _some(cls, change: int) -> int:
        if change == 0:
            raise ValueError("must not be zero")
        return change


_FeedRow = Annotated[FeedSnapshot | FeedDelta, Field(discriminator="kind")]


class PutFeed(Closed):
    """Up to 1,000 rows under the source's own `feed_id`. Send it again as often as needed."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE_FEED]})

    feed_id: Code
    rows: Annotated[tuple[_FeedRow, ...], Field(min_length=1, max_length=1000)]


class FeedTaken(Value):
    """
    What became of the rows; `new` is false where the feed was sent before.

    `absorbed` rows are already in what was counted later, `duplicate` ones were had before;
    `rejected` ones name the cure. `short`: fewer units are there than are allocated. `woken` counts
    orders that try again.
    """

    new: bool
    applied: int
    absorbed: int
    duplicate: int
    rejected: tuple[Rejected, ...] = ()
    short: tuple[ShortShelf, ...] = ()
    woken: int = 0


class RowError(Value):
    line: int
    field: str
    message: str


class BulkTaken(Loaded):
    """As `Loaded`, with the first hundred of the rows that were rejected."""

    errors: tuple[RowError, ...] = ()


class Rerouted(Value):
    """`asked` are asked back by this call, of all that are `affected`."""

    id: int
    asked: tuple[Affected, ...]
    affected: tuple[Affected, ...]


class FindExceptions(PageOf):
    node: Annotated[Text | None, Field(description="all without it")] = None
    cleared: Annotated[bool, Field(description="those that are over as well")] = False


class FindMovements(PageOf):
    sku: Annotated[Code, Field(description="of which SKU")]
    node: Annotated[Text | None, Field(description="all without it")] = None


class LoadFile(Closed):
    as_of: Annotated[
        Instant | None, Field(description="the moment the file speaks of; else now")
    ] = None
    again: Annotated[bool, Field(description="count anew what was loaded before")] = False


class _Errors(loading.Listener):
    def __init__(self) -> None:
        self.first: list[RowError] = []

    def rejected(self, row: BadRow) -> None:
        if len(self.first) < _MOST_ERRORS:
            self.first.append(RowError(line=row.line, field=row.field, message=row.message))


@router.post("/feeds/{source}", responses=problems.documented(404))
async def feed(source: Source, body: PutFeed, access: WritesStock, services: Serving) -> FeedTaken:
    """
    A partner's snapshots and changes: late, twice, out of order. Each row once by its sequence.

    Units that are allocated stay so, and what shipped after a snapshot's time is not undone.
    """
    for row in body.rows:
        own_node(access, row.node)
    reports = [
        (Snapshot if row.kind == "snapshot" else Delta).model_validate(row.model_dump())
        for row in body.rows
    ]
    async with transaction(services.engine) as conn:
        taken = await feeds.take(conn, source, body.feed_id, reports, actor(access))
        woken = await wake_backordered(conn, taken.more, uuid4().hex)
    return FeedTaken(**taken.model_dump(exclude={"more"}), woken=woken)


@router.post("/bulk", openapi_extra=_BULK_BODY, responses=problems.documented(409, 413, 415))
async def bulk(
    request: Request, access: WritesStock, services: Serving, asked: Annotated[LoadFile, Query()]
) -> BulkTaken:
    """
    A file of counts, as CSV or as a JSON object a line, up to 256 MiB. All good rows are kept.

    Sent again after it broke off it goes on where it ended. It is taken in whole before it is
    answered: a million rows take a minute.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _FORMATS:
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send {' or '.join(_FORMATS)} as the Content-Type"
        )
    errors = _Errors()
    with tempfile.TemporaryFile() as file:
        async for part in request.stream():
            file.write(part)
        loaded = await loading.load(
            services.engine,
            file,
            _FORMATS[kind],
            name=f"sent by {actor(access)}",
            actor=actor(access),
            listener=errors,
            nodes=access.nodes,
            as_of=asked.as_of,
            again=asked.again,
        )
    return BulkTaken(**loaded.model_dump(), errors=tuple(errors.first))


@router.get("/exceptions")
async def exceptions(
    access: ReadsStock, services: Serving, asked: Annotated[FindExceptions, Query()]
) -> Page[StockException]:
    """Shelves with fewer units than are allocated there, and whose orders they are."""
    after = _position(asked.cursor) or 0
    async with transaction(services.read_engine) as conn:
        found = await shortages.exceptions(
            conn,
            nodes=_nodes(access, asked.node),
            cleared=asked.cleared,
            after=after,
            limit=asked.limit,
        )
    return Page(items=found, next=str(found[-1].id) if len(found) == asked.limit else None)


@router.post("/exceptions/{exception_id}/reroute", responses=problems.documented(404, 409))
async def reroute(exception_id: ExceptionId, access: Operates, services: Serving) -> Rerouted:
    """
    Ask the node to give back what it has not got, the newest allocations first, for elsewhere.

    Once for each fulfillment, however often this is called. What the node ships all the same is
    taken as shipped; what nobody else has waits for a person.
    """
    async with transaction(services.engine) as conn:
        found = await shortages.exception(conn, exception_id)
        if found is None or not sees_node(access, found.node):
            raise NotFound(f"there is no stock exception {exception_id}")
        if found.cleared_at is not None:
            raise Conflict(f"stock exception {exception_id} was made good", code="cleared")
        asked = await ask_back(conn, found, actor(access))
    return Rerouted(id=found.id, asked=asked, affected=found.affected)


@router.get("/movements")
async def movements(
    access: ReadsStock, services: Serving, asked: Annotated[FindMovements, Query()]
) -> Page[Movement]:
    """What moved a SKU, the newest first: why, by whom, and what was there before and after."""
    before = _position(asked.cursor)
    async with transaction(services.read_engine) as conn:
        found = await history.movements_of(
            conn, asked.sku, _nodes(access, asked.node), before=before, limit=asked.limit
        )
    return Page(items=found, next=str(found[-1].id) if len(found) == asked.limit else None)


def _nodes(access: Access, node: str | None) -> list[str] | None:
    """The nodes to look at; None is all, and the network."""
    if node is not None:
        own_node(access, node)
        return [node]
    return None if access.nodes is None else list(access.nodes)


def _position(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= _LONGEST_ID):
        raise Invalid("cursor: not one that a page before gave")
    return int(cursor)
