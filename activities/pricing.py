"""Prices stock all the time: fits a book, tries it, watches what it does, and turns it off."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from activities.house import House
from domain.errors import Outage
from domain.sourcing.arms import Tally, Verdict, judge
from domain.sourcing.evidence import Pricing
from domain.sourcing.fitting import Fitted, Past, fit
from domain.sourcing.record import Record
from domain.values import Value
from storage import decisions, passes, prices, snapshot
from storage.database import transaction
from storage.prices import State

_LOG: Final = logging.getLogger(__name__)
_LOOK: Final = 60.0  # seconds, at most, until a pass that is due is made
_PAGE: Final = 20  # records, unpacked in hundredths of a second: the rest of the loop waits for it
_NEWEST: Final = "\U0010ffff"  # after every order
ACTOR: Final = "pricing"


class Made(Value):
    """
    What a pass came to: `busy` (another worker makes one), `off`, `few` decisions, `none` that
    pays, `activated`, or `worse`: prices cost more than they save and are off now.
    """

    outcome: str
    note: str = ""
    version: str | None = None


async def run(house: House) -> None:
    """For ever, if there is an interval. Several workers may: each pass is made by one of them."""
    while house.prices_seconds:
        try:
            await once(house.engine, house.pricing, house.prices_seconds)
        except Outage as outage:
            _LOG.warning("%s", outage)
        except Exception:  # noqa: BLE001 - the book that holds goes on holding
            _LOG.exception("prices were not fitted")
        await asyncio.sleep(min(house.prices_seconds, _LOOK))
    await asyncio.Event().wait()


async def once(engine: AsyncEngine, pricing: Pricing, seconds: float = 0.0) -> Made:
    """
    A pass, if one is due and nobody else makes one: whether prices pay, and a new book.

    Broken off midway, the book that held goes on holding.
    """
    async with transaction(engine) as conn:
        if not await passes.claim(conn, "prices", seconds):
            return Made(outcome="busy")
    began = time.monotonic()
    try:
        made = await _made(engine, pricing)
    finally:
        async with transaction(engine) as conn:
            await passes.end(conn, "prices", 0)
    level = logging.ERROR if made.outcome == "worse" else logging.INFO
    spent = time.monotonic() - began
    _LOG.log(level, "prices %s in %.1f s: %s", made.outcome, spent, made.note)
    return made


async def _made(engine: AsyncEngine, pricing: Pricing) -> Made:
    async with transaction(engine) as conn:
        state = await prices.state(conn)
    if not state.on:
        return Made(outcome="off", note=state.last.note if state.last else "")
    verdict = await verdict_of(engine, pricing, state)
    if verdict is not None and verdict.worse:
        async with transaction(engine) as conn:
            await prices.off(conn, ACTOR, verdict.said)
        return Made(outcome="worse", note=verdict.said)
    fitted, orders = await _fitted(engine, pricing)
    if fitted is None:
        return Made(outcome="few", note=f"{orders} decisions, {pricing.least} are wanted")
    note = "; ".join([_note(fitted), *([verdict.said] if verdict else [])])
    async with transaction(engine) as conn:
        version = None
        if fitted.prices is not None:
            version = await prices.keep(
                conn, fitted.prices, pricing.unpriced, orders, fitted.evidence
            )
        held = await prices.settle(conn, version, ACTOR, note)
    if not held:
        return Made(outcome="off", note="turned off meanwhile")
    return Made(outcome="activated" if version else "none", note=note, version=version)


async def verdict_of(engine: AsyncEngine, pricing: Pricing, state: State) -> Verdict | None:
    """
    What prices do, against before them; None where there are none, or too little is known. For one
    horizon nothing is said: prices pay for stock first, and have it later.
    """
    since, now = state.priced_since, datetime.now(UTC)
    horizon = timedelta(days=pricing.horizon_days)
    if state.version is None or since is None or now < since + horizon:
        return None
    async with transaction(engine) as conn:
        share = (await prices.get(conn, state.version)).unpriced
    after, before = Tally(), Tally()
    async for some in _newest(engine, since, now, pricing.most):
        await asyncio.to_thread(_told, after, some, priced=True)
    async for some in _newest(engine, since - timedelta(days=pricing.days), since, pricing.most):
        await asyncio.to_thread(_told, before, some, priced=False)
    return judge(before, after, share)


def _told(tally: Tally, some: tuple[Record, ...], *, priced: bool) -> None:
    """Only of decisions that a book was at work in, or only of the others."""
    for record in some:
        if bool(record.decision.problem.prices) == priced:
            tally.add(record.decision)


async def _fitted(engine: AsyncEngine, pricing: Pricing) -> tuple[Fitted | None, int]:
    """What was fitted, and to how many orders; nothing where they are too few."""
    now = datetime.now(UTC)
    past, stocked = Past(), dict[str, frozenset[str]]()
    async for some in _newest(engine, now - timedelta(days=pricing.days), now, pricing.most):
        skus = {demand.sku for record in some for demand in record.decision.problem.demands}
        if new := skus - stocked.keys():
            async with transaction(engine) as conn:
                stocked |= dict.fromkeys(new, frozenset()) | await prices.stocked(conn, new)
        await asyncio.to_thread(_learn, past, some, stocked)
    if len(past) < pricing.least:
        return None, len(past)
    async with transaction(engine) as conn:
        network = await snapshot.sourcing(conn, list(past.rows))
    return await asyncio.to_thread(fit, past, network.stock, pricing), len(past)


def _learn(past: Past, some: tuple[Record, ...], stocked: dict[str, frozenset[str]]) -> None:
    for record in some:
        past.add(record, stocked)


async def _newest(
    engine: AsyncEngine, since: datetime, until: datetime, most: int
) -> AsyncIterator[tuple[Record, ...]]:
    """Records of that time, the newest first, in pages of a transaction each."""
    before = until, _NEWEST
    while most > 0:
        async with transaction(engine) as conn:
            some = await decisions.newest(conn, since, before, min(_PAGE, most))
        if not some:
            return
        yield some
        most -= len(some)
        problem = some[-1].decision.problem
        before = problem.as_of, problem.order_id


def _note(fitted: Fitted) -> str:
    evidence, best = fitted.evidence, fitted.evidence.best
    if fitted.prices is None:
        return f"no prices cost less on {evidence.tried} orders"
    return f"{best.method} × {best.scale:g} saves {evidence.saved:.2%} on {evidence.tried} orders"
