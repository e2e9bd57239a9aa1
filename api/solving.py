"""The solvers at work in the API: in a thread, a few at a time, and not for ever in line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeVar

from domain.errors import Outage

_PATIENCE: Final = timedelta(seconds=5)
# The solvers share the process with intake: two at a time, the others wait their turn.
_turn: Final = asyncio.Semaphore(2)
_Found = TypeVar("_Found")


async def solved(work: Callable[[], _Found]) -> _Found:
    """What the work answers. Raises Outage where its turn does not come within seconds."""
    try:
        async with asyncio.timeout(_PATIENCE.total_seconds()):
            await _turn.acquire()
    except TimeoutError as busy:
        raise Outage("sourcing", "is busy", retry_after=1, maybe_received=False) from busy
    try:
        return await asyncio.to_thread(work)
    finally:
        _turn.release()
