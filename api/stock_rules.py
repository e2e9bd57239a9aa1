"""What holds stock back, whom it is shown to, and who is told when it runs low."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Self
from uuid import uuid4

from fastapi import APIRouter, Query
from pydantic import ConfigDict, Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from api import examples
from api.answers import Saved
from api.intake import wake_backordered
from api.problems import Forbidden
from api.schemas import AfterEntry, Closed, Code, PageOf, Text
from api.security import ReadsStock, WritesStock, actor, whole_network
from api.services import Serving
from domain.errors import Invalid
from domain.stock_rules import Rule, RuleKind, Subject
from storage import matching, open_orders, stock_rules, stock_watch
from storage.access import Access
from storage.database import transaction
from storage.reads import Page
from storage.stock_rules import KeptRule, Key
from storage.stock_watch import KeptWatch, StockEvent, Watch

router = APIRouter(prefix="/v1/stock", tags=["stock"])


class PutRule(Rule, Closed):
    model_config = ConfigDict(extra="forbid")


class NamedRule(Subject, Closed):
    model_config = ConfigDict(extra="forbid")


class PutRules(Closed):
    """`rules` take the place of those on the same subject; those on the `removed` are no more."""

    model_config = examples.of(
        {
            "rules": [
                {"kind": "safety", "node": "ST-CHI", "units": 2},
                {"kind": "threshold", "channel": "webshop", "units": 10},
            ],
            "removed": [{"kind": "safety", "sku": "NF-0001"}],
        }
    )

    rules: Annotated[tuple[PutRule, ...], Field(max_length=1000)] = ()
    removed: Annotated[tuple[NamedRule, ...], Field(max_length=1000)] = ()


class FindRules(PageOf):
    """Each filter finds the rules that name just that; empty finds those that name none."""

    kind: Annotated[RuleKind | None, Field(description="of this kind")] = None
    channel: Annotated[Text | None, Field(description="of this channel")] = None
    node: Annotated[Text | None, Field(description="of this node")] = None
    sku: Annotated[Code | None, Field(description="of this SKU")] = None


class PutWatch(Watch, Closed):
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.high < self.low:
            raise ValueError("high: must be `low` or more, or the two would follow each other")
        return self


class NamedWatch(Closed):
    sku: Code
    node: Text = ""


class PutWatches(Closed):
    """`watches` take the place of those on the same SKU and node; the `removed` are no more."""

    model_config = examples.of({"watches": [{"sku": "NF-0001", "low": 5, "high": 20}]})

    watches: Annotated[tuple[PutWatch, ...], Field(max_length=1000)] = ()
    removed: Annotated[tuple[NamedWatch, ...], Field(max_length=1000)] = ()


class FindWatches(PageOf):
    sku: Annotated[Code | None, Field(description="of this SKU")] = None


@router.put("/rules")
async def put_rules(body: PutRules, access: WritesStock, services: Serving) -> Saved:
    """
    Set and remove rules, all or none. They hold from the answer on.

    Orders that wait for stock which is no longer held back try again.
    """
    _all_channels(access)
    who = actor(access)
    rules = [Rule.model_validate(rule.model_dump()) for rule in body.rules]
    async with transaction(services.engine) as conn:
        removed = await stock_rules.put(conn, rules, who, removed=body.removed)
        named = {subject.sku for subject in (*rules, *body.removed)}
        await matching.rematch_ruled(conn, None if "" in named else named)
        await _wake(conn, [*rules, *body.removed])
    return Saved(saved=len(rules) + removed)


@router.get("/rules")
async def rules(
    access: ReadsStock, services: Serving, asked: Annotated[FindRules, Query()]
) -> Page[KeptRule]:
    """The rules that hold, with who made them so."""
    _all_channels(access)
    after = None if asked.cursor is None else Key(*_parts(asked.cursor, len(Key._fields)))
    async with transaction(services.read_engine) as conn:
        found = await stock_rules.listed(
            conn,
            kind=asked.kind,
            channel=asked.channel,
            node=asked.node,
            sku=asked.sku,
            after=after,
            limit=asked.limit,
        )
    last = found[-1] if len(found) == asked.limit else None
    return Page(items=found, next=_cursor(*stock_rules.key_of(last)) if last else None)


@router.put("/watches")
async def put_watches(body: PutWatches, access: WritesStock, services: Serving) -> Saved:
    """
    Watch SKUs: one `low_stock` event at `low` units or fewer, one `back_in_stock` above `high`.

    What is low already is told of at once.
    """
    _all_channels(access)
    async with transaction(services.engine) as conn:
        removed = await stock_watch.remove(conn, [(w.sku, w.node) for w in body.removed])
        await stock_watch.put(conn, body.watches, actor(access))
        await stock_watch.look(conn, sorted({watch.sku for watch in body.watches}))
    return Saved(saved=len(body.watches) + removed)


@router.get("/watches")
async def watches(
    access: ReadsStock, services: Serving, asked: Annotated[FindWatches, Query()]
) -> Page[KeptWatch]:
    """What is watched, and whether it is low."""
    whole_network(access)
    sku, node = (None, None) if asked.cursor is None else _parts(asked.cursor, 2)
    after = None if sku is None or node is None else (sku, node)
    async with transaction(services.read_engine) as conn:
        found = await stock_watch.listed(conn, sku=asked.sku, after=after, limit=asked.limit)
    last = found[-1] if len(found) == asked.limit else None
    return Page(items=found, next=_cursor(last.sku, last.node) if last else None)


@router.get("/events")
async def events(
    access: ReadsStock, services: Serving, asked: Annotated[AfterEntry, Query()]
) -> tuple[StockEvent, ...]:
    """What fell low and what is back, oldest first. Ask again with the last `id` as `after`."""
    whole_network(access)
    async with transaction(services.read_engine) as conn:
        return await stock_watch.events(conn, after=asked.after, limit=asked.limit)


def _all_channels(access: Access) -> None:
    """Raise Forbidden for a key that is bound to some channels, or nodes, only."""
    whole_network(access)
    if access.channels is not None:
        raise Forbidden("this concerns every channel; the key is bound to single channels")


async def _wake(conn: AsyncConnection, subjects: Sequence[Subject]) -> None:
    """Orders that wait for a SKU of these rules; a wide rule speaks of all that orders wait for."""
    named = {subject.sku for subject in subjects}
    skus = await open_orders.awaited_skus(conn) if "" in named else named
    await wake_backordered(conn, skus, uuid4().hex)


def _cursor(*parts: str) -> str:
    return json.dumps(parts, ensure_ascii=False)


def _parts(cursor: str, count: int) -> list[str]:
    """Raises Invalid where no page gave this cursor."""
    try:
        parts = json.loads(cursor)
    except ValueError:
        parts = None
    if not isinstance(parts, list) or [type(part) for part in parts] != [str] * count:
        raise Invalid("cursor: not one that a page before gave")
    return parts
