"""Sources the orders that cooled down: all of a profile together, once one of them is due."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Final
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncEngine

from activities.house import House
from activities.sourcing import Asked, ask, compare
from domain.errors import Outage
from domain.sourcing.certifying import certified
from domain.sourcing.problem import Decision
from domain.sourcing.together import Together
from storage import cooling, decisions
from storage.database import transaction
from storage.standing import one_moment
from workflows.ports import SourceOrder

_LOG: Final = logging.getLogger(__name__)
_KEPT_AT_ONCE: Final = 100  # decisions, in one transaction


async def run(house: House) -> None:
    """For ever. Several workers may: each batch is decided by one of them."""
    while True:
        try:
            decided = await decide_due(house.engine, house.certified)
        except Outage as outage:
            _LOG.warning("%s", outage)
            decided = 0
        except Exception:  # noqa: BLE001 - its orders go on alone, each when its time is over
            _LOG.exception("a batch was not decided")
            decided = 0
        if not decided:
            await asyncio.sleep(house.batch_seconds)


async def decide_due(engine: AsyncEngine, share: float = 0.0) -> int:
    """
    Decide one batch, if one is due, and tell its orders; how many they are. OR-Tools solves a
    `share` of the decisions again.

    Killed midway, what is kept is decided, and the rest is claimed again once the lease is over.
    """
    async with transaction(engine) as conn:
        rows = await cooling.claim(conn)
    if not rows:
        return 0
    began = time.monotonic()
    async with transaction(engine) as conn:
        await one_moment(conn)
        asked = await ask(conn, *(SourceOrder.model_validate(row.request) for row in rows))
    name = f"{rows[0].profile}/{uuid4().hex[:12]}"
    made = await asyncio.to_thread(_decided, asked, name, share)
    pairs = list(zip(asked, made, strict=True))
    for at in range(0, len(pairs), _KEPT_AT_ONCE):
        some = pairs[at : at + _KEPT_AT_ONCE]
        async with transaction(engine) as conn:
            for one, decision in some:
                compare(decision)
                await decisions.store(conn, one.record(decision))
            await cooling.decided(conn, [one.request.order_id for one, _ in some], name)
    _LOG.info("batch %s: %d orders in %.1f s", name, len(made), time.monotonic() - began)
    return len(made)


def _decided(asked: Sequence[Asked], name: str, share: float) -> list[Decision]:
    together = Together([one.pose().problem for one in asked])
    made = []
    for number, one in enumerate(asked):
        decision = one.decide(partial(together.problem, number))
        together.settle(number, decision.problem, decision.plan)
        made.append(certified(decision.model_copy(update={"batch": name}), share))
    return made
