"""
Stock kept in this process, packed by SKU, so that reading what may be sold asks no database.

All of it is of one moment, the `as_of` of the last refresh. A refresh is due a quarter of a second
after the last one and happens while readers go on; whoever finds the view older than a second, or
asks for a SKU that is not in it, waits for one. Nobody reads: nothing is refreshed.
"""

import asyncio
import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.availability import Offer, Outlets, Position, offer, tells_apart
from domain.errors import Outage
from domain.network import Kit
from domain.orders import DeliveryMethod
from storage import availability, kits, stock_rules
from storage.database import transaction
from storage.standing import one_moment
from storage.stock_feed import Changes, Feed

STALE_SECONDS: Final = 1.0
_REFRESH_SECONDS: Final = 0.25
_TRIES: Final = 5
_MOST_SKUS: Final = 20_000
_MOST_OFFERS: Final = 20_000
_IN_TURN: Final = 5
_LOG: Final = logging.getLogger(__name__)

_CHANGED_SHELVES: Final = text("""
SELECT s.sku, s.node, s.on_hand, s.allocated FROM stock AS s
JOIN unnest(CAST(:skus AS text[]), CAST(:nodes AS text[])) AS d (sku, node)
  ON d.sku = s.sku AND d.node = s.node
""")
_POOLS: Final = text("SELECT sku, available FROM pool WHERE sku = ANY(:skus)")


_Offers = dict[tuple[str, str, DeliveryMethod], tuple[Position, Offer]]


class Seen(NamedTuple):
    """What was asked for, all as it was at `as_of`, which is at most a second ago: `age_ms`."""

    as_of: datetime
    age_ms: int
    outlets: Outlets
    positions: Mapping[str, Position]
    offers: _Offers
    kits: Mapping[str, Kit]

    def offer(self, sku: str, channel: str, method: DeliveryMethod) -> Offer:
        """Worked out once, until the position changes. Not to be written to."""
        here = self.positions[sku]
        if (kit := self.kits.get(sku)) is not None:
            return availability.offer_of(self.outlets, self.positions, kit, channel, method)
        known = self.offers.get((sku, channel, method))
        if known is None or known[0] is not here:
            known = here, offer(self.outlets, here, channel, method)
            self.offers[sku, channel, method] = known
        return known[1]


class StockView:
    """
    What there is to sell, at most a second old. For one event loop.

    Raises Outage("postgres") where it cannot be kept that fresh.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._feed = Feed()
        self._outlets = Outlets([])
        self._positions: dict[str, Position] = {}
        self._offers: _Offers = {}
        self._kits: dict[str, Kit] = {}
        self._as_of = datetime.min.replace(tzinfo=UTC)
        self._at = float("-inf")
        self._asked: set[str] = set()
        self._refreshing: asyncio.Task[None] | None = None
        self._turn = 0

    async def read(self, skus: Collection[str]) -> Seen:
        for _ in range(_TRIES):
            age = time.monotonic() - self._at
            made_of = {sku: kit for sku in skus if (kit := self._kits.get(sku))}
            wanted = {*skus, *(c.sku for kit in made_of.values() for c in kit.components)}
            missing = [sku for sku in wanted if sku not in self._positions]
            if not missing and age <= STALE_SECONDS:
                if age > _REFRESH_SECONDS:
                    self._refresh()
                found = {sku: self._positions[sku] for sku in wanted}
                age_ms = round(age * 1000)
                return Seen(self._as_of, age_ms, self._outlets, found, self._offers, made_of)
            self._asked.update(missing)
            await asyncio.shield(self._refresh())
        raise Outage("postgres", f"did not let stock be read within {STALE_SECONDS:g} s")

    async def refreshed(self) -> None:
        """Once what was committed before this call is in the view."""
        running = self._refreshing
        if running is not None and not running.done():
            await asyncio.wait([running])
        await asyncio.shield(self._refresh())

    def _refresh(self) -> asyncio.Task[None]:
        """The refresh that is under way, or a new one."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._bring())
            self._refreshing.add_done_callback(_say)
        return self._refreshing

    async def _bring(self) -> None:
        at, asked = time.monotonic(), self._asked
        self._asked = set()
        try:
            async with transaction(self._engine) as conn:
                await one_moment(conn)
                changes = await self._feed.poll(conn)
                outlets, positions, made_of = await self._changed(conn, changes, asked)
        except BaseException:  # what the feed said is lost: begin anew
            self._feed = Feed()
            raise
        if outlets is not self._outlets or len(self._offers) > _MOST_OFFERS:
            self._offers = {}
        self._outlets, self._positions, self._kits = outlets, positions, made_of
        self._as_of, self._at = changes.as_of, at

    async def _changed(
        self, conn: AsyncConnection, changes: Changes, asked: set[str]
    ) -> tuple[Outlets, dict[str, Position], dict[str, Kit]]:
        if changes.everything or len(self._positions) > _MOST_SKUS:
            shown = (await stock_rules.known(conn, ())).visibility()
            outlets = Outlets(await availability.outlets(conn), shown)
            loaded = await _loaded(conn, outlets, asked)
            return outlets, loaded, await kits.recipes(conn, asked)
        outlets, positions = self._outlets, self._positions
        touched = changes.skus() & positions.keys()
        anew = {sku for sku in touched if sku in changes.ruled or self._is_apart(sku)}
        units = {(s, node) for s, node in changes.shelves if s in touched - anew}
        patched, unknown = await _patched(conn, outlets, positions, units)
        anew |= unknown | self._in_turn()
        again = asked - positions.keys() | anew
        loaded = await _loaded(conn, outlets, again)
        if not patched and not loaded:
            return outlets, positions, self._kits
        others = {sku: kit for sku, kit in self._kits.items() if sku not in again}
        made_of = others | await kits.recipes(conn, again)
        return outlets, positions | patched | loaded, made_of

    def _in_turn(self) -> set[str]:
        """A few SKUs to read anew, all in time: what was mended by hand left no movement."""
        first = self._turn if self._turn < len(self._positions) else 0
        self._turn = first + _IN_TURN
        return set(islice(self._positions, first, self._turn))

    def _is_apart(self, sku: str) -> bool:
        return tells_apart(self._outlets, self._positions[sku].rules)


async def _loaded(
    conn: AsyncConnection, outlets: Outlets, skus: Collection[str]
) -> dict[str, Position]:
    if not skus:
        return {}
    known = await stock_rules.known(conn, skus)
    return await availability.positions(conn, outlets, known, skus)


async def _patched(
    conn: AsyncConnection,
    outlets: Outlets,
    positions: Mapping[str, Position],
    shelves: Iterable[tuple[str, str]],
) -> tuple[dict[str, Position], set[str]]:
    """The positions with these shelves and their pools read anew; SKUs that came to a new node."""
    pairs = sorted(shelves)
    skus = sorted({sku for sku, _ in pairs})
    if not skus:
        return {}, set()
    pools = {row.sku: row.available for row in await conn.execute(_POOLS, {"skus": skus})}
    patched = {
        sku: replace(
            positions[sku],
            pool=pools.get(sku, 0),
            on_hand=positions[sku].on_hand.copy(),
            allocated=positions[sku].allocated.copy(),
        )
        for sku in skus
    }
    columns = {"skus": [sku for sku, _ in pairs], "nodes": [node for _, node in pairs]}
    unknown = set()
    for row in await conn.execute(_CHANGED_SHELVES, columns):
        here = patched[row.sku]
        place = np.searchsorted(here.nodes, outlets.index[row.node])
        if place == len(here.nodes) or here.nodes[place] != outlets.index[row.node]:
            unknown.add(row.sku)
            continue
        here.on_hand[place], here.allocated[place] = row.on_hand, row.allocated
    return {sku: here for sku, here in patched.items() if sku not in unknown}, unknown


def _say(refreshing: asyncio.Task[None]) -> None:
    """Readers hear of a failure when they wait for it; one in the background is told here."""
    if not refreshing.cancelled() and (error := refreshing.exception()):
        _LOG.warning("stock was not refreshed: %s", error)
