"""One deadline timer for all the waits of an order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from temporalio import workflow


class Clock:
    """
    Waits share one timer, set to the earliest deadline.

    A deadline that moves in moves the timer, and so does one that moves far out: that costs two
    events of history, a timer that goes off for nothing five. One that moves out a little costs
    nothing as a rule: the timer goes off early, and is set anew.

    The timer is only touched while the order is `idle`, that is, no step of it is under way: a
    workflow task may end between a step and what follows from it, and is replayed as if it had
    not. A timer that was started before and moved after would be one that a replay never starts.
    """

    def __init__(self, idle: Callable[[], bool]) -> None:
        self._idle = idle
        self._deadlines: list[datetime] = []
        self._news = False
        self._target: datetime | None = None
        self._timer: asyncio.Task[None] | None = None
        self._hand: asyncio.Task[None] | None = None

    async def until(self, condition: Callable[[], bool], by: datetime) -> bool:
        """Wait for the condition; False when `by` came first."""
        if condition():
            return True
        self._hand = self._hand or asyncio.create_task(self._keep())
        self._deadlines.append(by)
        self._news = True
        try:
            await workflow.wait_condition(lambda: condition() or workflow.now() >= by)
        finally:
            self._deadlines.remove(by)
        return condition()

    async def _keep(self) -> None:
        while True:
            await workflow.wait_condition(lambda: self._news and self._idle())
            self._news = False
            self._set()

    def _set(self) -> None:
        now = workflow.now()
        ahead = [deadline for deadline in self._deadlines if deadline > now]
        if not ahead:
            return
        earliest = min(ahead)
        if self._target is not None and self._target <= earliest <= now + 2 * (self._target - now):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._target = earliest
        self._timer = asyncio.create_task(self._tick(earliest))

    async def _tick(self, target: datetime) -> None:
        await workflow.sleep(target - workflow.now(), summary="next deadline")
        if self._target == target:
            self._target = self._timer = None
            self._news = True
