"""Audits stock all the time: what moved every so often, everything now and then, one at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from activities.house import House
from domain.errors import Outage
from storage import audit, passes, repairs
from storage.audit import STOCK, Finding
from storage.audit.sources import SOURCES
from storage.audit.wrong import Scope
from storage.database import transaction
from storage.passes import Kind
from storage.repairs import Policy, Repair
from storage.standing import one_moment
from storage.stock_feed import Feed

_LOG: Final = logging.getLogger(__name__)
_SETTLE: Final = 2.0  # seconds, after which what is under way looks otherwise
_MOST_SKUS: Final = 1000  # a quick pass; the others are looked at by the next
_MOST_LINES: Final = 20  # of the log; all are counted


async def run(house: House) -> None:
    """For ever, if there is an interval. Several workers may: each pass is made by one of them."""
    auditor = _Auditor(house)
    while house.audit_seconds:
        try:
            await auditor.look()
        except Outage as outage:
            _LOG.warning("%s", outage)
        await asyncio.sleep(house.audit_seconds)
    await asyncio.Event().wait()


async def mend(
    engine: AsyncEngine, policies: Mapping[str, Policy], skus: Collection[str] | None = None
) -> tuple[Repair, ...]:
    """
    Repair what the sources of truth find wrong, or propose to, each in a transaction of its own.

    What leans on a row that waits for a person is left as it is.
    """
    made = []
    for source in SOURCES:
        async with transaction(engine) as conn:
            await audit.patiently(conn)
            found = await repairs.look(conn, source.kind, Scope(skus))
        for wrong in found:
            async with transaction(engine) as conn:
                await audit.patiently(conn)
                repair = await repairs.settle(conn, source.kind, wrong, policies)
            if repair is not None:
                made.append(repair)
    return tuple(made)


class _Auditor:
    """One worker's. It knows what moved since it made a pass itself, so the last to come may."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._feed = Feed()
        self._moved: set[str] = set()

    async def look(self) -> None:
        """Make the passes that are due, unless another worker does."""
        async with transaction(self._house.engine) as conn:
            await one_moment(conn)
            # Where it says "everything", as at the beginning, the next full pass sees to it.
            self._moved |= (await self._feed.poll(conn)).skus()
        await self._make("full", self._house.audit_full_seconds, None)
        if self._moved:
            skus = sorted(self._moved)[:_MOST_SKUS]
            if await self._make("quick", self._house.audit_seconds, skus):
                self._moved.difference_update(skus)

    async def _make(self, kind: Kind, seconds: float, skus: Collection[str] | None) -> bool:
        """A pass, if it is due. What is wrong counts where it still is after a while."""
        began = time.monotonic()
        async with transaction(self._house.engine) as conn:
            if not await passes.claim(conn, kind, seconds):
                return False
        found = await self._found(skus)
        made: tuple[Repair, ...] = ()
        if found:
            await asyncio.sleep(_SETTLE)
            made = await mend(self._house.engine, self._house.policies, skus)
            seen = {(finding.invariant, finding.subject) for finding in found}
            found = [f for f in await self._found(skus) if (f.invariant, f.subject) in seen]
        async with transaction(self._house.engine) as conn:
            await passes.end(conn, kind, len(found))
        _tell(kind, time.monotonic() - began, found, made)
        return True

    async def _found(self, skus: Collection[str] | None) -> list[Finding]:
        async with transaction(self._house.engine) as conn:
            return list(await audit.audit(conn, invariants=STOCK, skus=skus))


def _tell(kind: Kind, seconds: float, found: list[Finding], made: tuple[Repair, ...]) -> None:
    applied = sum(repair.status == "applied" for repair in made)
    level = logging.ERROR if found else logging.WARNING if made else logging.DEBUG
    _LOG.log(
        level,
        "audit pass=%s findings=%d applied=%d proposed=%d seconds=%.1f",
        *(kind, len(found), applied, len(made) - applied, seconds),
    )
    for finding in found[:_MOST_LINES]:
        _LOG.error(
            "audit finding invariant=%d subject=%r message=%r rows=%s",
            *(finding.invariant, finding.subject, finding.message),
            [row.model_dump() for row in finding.rows],
        )
    for repair in made[:_MOST_LINES]:
        _LOG.warning(
            "audit repair id=%d status=%s table=%s key=%s finding=%r",
            *(repair.id, repair.status, repair.table, repair.key, repair.finding),
        )
