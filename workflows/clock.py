"""One deadline timer for all the waits of an order."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime

from temporalio import workflow


class Clock:
    """
    Waits share one timer, set to the earliest deadline.

    A deadline that moves in replaces the timer, and so does one that moves far out: that costs two
    events of history, a timer that goes off for nothing five. One that moves out a little costs
    nothing as a rule: the timer goes off early, and is set anew.
    """

    def __init__(self) -> None:
        self._deadlines: list[datetime] = []
        self._target: datetime | None = None
        self._timer: asyncio.Task[None] | None = None

    async def until(self, condition: Callable[[], bool], by: datetime | None = None) -> bool:
        """Wait for the condition; False when `by` came first."""
        if by is None:
            await workflow.wait_condition(condition)
            return True
        self._deadlines.append(by)
        try:
            self._arm()
            await workflow.wait_condition(lambda: condition() or workflow.now() >= by)
        finally:
            self._deadlines.remove(by)
        return condition()

    def _arm(self) -> None:
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
            self._arm()
