"""The solvers at work in the API: in a thread, a few at a time, and not for ever in line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Final, TypeVar

from domain.errors import Outage

_PATIENCE: Final = timedelta(seconds=5)
# The solvers share the process with intake: two at a time, the others wait their turn. Problems
# that are not ours may be as hard as anybody makes them: one at a time, and ours do not wait.
_turn: Final = asyncio.Semaphore(2)
_strange_turn: Final = asyncio.Semaphore(1)
_Found = TypeVar("_Found")


async def solved(work: Callable[[], _Found], *, strange: bool = False) -> _Found:
    """
    What the work answers; `strange` is a problem that came with the request. Raises Outage where
    its turn does not come within seconds.
    """
    turn = _strange_turn if strange else _turn
    try:
        async with asyncio.timeout(_PATIENCE.total_seconds()):
            await turn.acquire()
    except TimeoutError as busy:
        raise Outage("sourcing", "is busy", retry_after=1, maybe_received=False) from busy
    try:
        return await asyncio.to_thread(work)
    finally:
        turn.release()
