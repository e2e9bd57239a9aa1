"""The solvers at work in the API: in a thread, a few at a time, and not for ever in line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, TypeVar

from starlette.requests import Request

from domain.errors import Busy
from domain.sourcing.allowance import Work

_PATIENCE: Final = timedelta(seconds=5)
# The solvers share the process with intake: two at a time, the others wait their turn. Problems
# that are not ours may be as hard as anybody makes them: one at a time, and ours do not wait.
_turn: Final = asyncio.Semaphore(2)
_strange_turn: Final = asyncio.Semaphore(1)
_at_work: Final = set[Work]()  # on problems that are not ours
_Found = TypeVar("_Found")


async def solved(work: Callable[[], _Found]) -> _Found:
    """What the work answers. Raises Busy where its turn does not come within seconds."""
    await _in_turn(_turn)
    try:
        return await asyncio.to_thread(work)
    finally:
        _turn.release()


async def solved_for(request: Request, find: Callable[[], _Found], work: Work) -> _Found:
    """
    As `solved`, of a problem that came with the request, for whose work there is a bound. It ends
    with Stopped where the caller hangs up; nobody else has its turn before it has ended.
    """
    await _in_turn(_strange_turn)
    _at_work.add(work)
    finding = asyncio.create_task(asyncio.to_thread(find))
    finding.add_done_callback(lambda ended: _ended(ended, work))
    hung_up = asyncio.create_task(_hung_up(request))
    try:
        await asyncio.wait({finding, hung_up}, return_when=asyncio.FIRST_COMPLETED)
        while not finding.done():  # a solver that has just begun does not hear it the first time
            work.stop()
            await asyncio.wait({finding}, timeout=0.1)
    finally:
        hung_up.cancel()
        work.stop()
    return await finding


async def _in_turn(turn: asyncio.Semaphore) -> None:
    try:
        async with asyncio.timeout(_PATIENCE.total_seconds()):
            await turn.acquire()
    except TimeoutError as busy:
        # What is at work counts its work in about seconds; of ours nothing says how much it is.
        most = max((work.left for work in _at_work), default=0) if turn is _strange_turn else 0
        raise Busy("sourcing", retry_after=max(1, most)) from busy


def _ended(finding: asyncio.Task[Any], work: Work) -> None:
    _at_work.discard(work)
    _strange_turn.release()
    if not finding.cancelled():
        finding.exception()  # has been looked at, also where nobody waits for it


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
