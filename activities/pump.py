"""A loop that takes rows that wait, works on many side by side, and never loses one."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, Protocol, TypeVar

from domain.errors import Outage, Refused

_LOG: Final = logging.getLogger(__name__)
_LONGEST: Final = timedelta(minutes=5)
_GIVE_UP_AFTER: Final = 30  # attempts of what is no outage: more than an hour of them
_OUTAGES_COUNT: Final = 9  # at most: by then the delay is the longest
_IN_TIME: Final = 0.9  # of a lease: what has not ended by then is stopped before another begins it


class Item(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def attempts(self) -> int: ...
    @property
    def order_id(self) -> str | None: ...


Row = TypeVar("Row", bound=Item)


class Box(ABC, Generic[Row]):
    """
    Rows that wait, and what to do with one. `claim` leases them for `lease` seconds: a crash gives
    them back.
    """

    lease: float

    @abstractmethod
    async def claim(self, limit: int) -> Sequence[Row]:
        """Rows that are due; those of one order in order, and no later one before they are done."""

    @abstractmethod
    async def work(self, row: Row) -> str:
        """Do it; the answer is noted. Raises Refused for what can never be done."""

    @abstractmethod
    async def done(self, rows: Collection[int], note: str) -> None: ...

    @abstractmethod
    async def failed(self, row: int, error: str, retry_at: datetime | None, attempts: int) -> None:
        """Try again then; None is never, which the auditor reports. So many attempts count."""

    @abstractmethod
    async def released(self, rows: Collection[int]) -> None:
        """These were claimed and not tried."""


class Pump(Generic[Row]):
    """
    Works on up to `width` orders' rows at once, one order's one after the other.

    A refusal is final and noted; anything else is tried again, with a delay that doubles up to five
    minutes. What is done is noted many at a time.
    """

    def __init__(self, box: Box[Row], *, width: int, idle: float) -> None:
        self._box = box
        self._width = width
        self._idle = idle
        self._working: set[asyncio.Task[None]] = set()
        self._finished: dict[str, list[int]] = defaultdict(list)

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                claimed = await self._turn()
            except Outage as outage:
                _LOG.warning("%s", outage)
                await asyncio.sleep(1)
                continue
            if not claimed:
                await asyncio.sleep(self._idle)

    async def _turn(self) -> int:
        """Note what is finished, and take on as much as there is room for."""
        while self._finished:
            note, finished = self._finished.popitem()
            try:
                await self._box.done(finished, note)
            except Outage:
                self._finished[note] += finished
                raise
        room = self._width - len(self._working)
        until = asyncio.get_running_loop().time() + self._box.lease * _IN_TIME
        rows = await self._box.claim(room) if room else ()
        orders: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            orders[row.order_id or f"#{row.id}"].append(row)
        for group in orders.values():
            task = asyncio.create_task(self._work_through(group, until))
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        return len(rows)

    async def _work_through(self, rows: Sequence[Row], until: float) -> None:
        """One order's rows, up to the first that fails or that time ends: the rest waits for it."""
        for place, row in enumerate(rows, 1):
            try:
                async with asyncio.timeout_at(until):
                    note = await self._box.work(row)
            except Refused as no:
                note = f"refused: {no}"
            except Exception as error:  # noqa: BLE001 - whatever it is, the row is kept
                await self._put_off(row, error, [later.id for later in rows[place:]])
                return
            self._finished[note].append(row.id)

    async def _put_off(self, row: Row, error: Exception, rest: Collection[int]) -> None:
        outage = isinstance(error, Outage | TimeoutError)
        if not outage:
            _LOG.error("row %s failed", row.id, exc_info=error)
        hopeless = not outage and row.attempts >= _GIVE_UP_AFTER
        delay = min(timedelta(seconds=2 ** min(row.attempts, 10)), _LONGEST)
        retry_at = None if hopeless else datetime.now(UTC) + delay
        attempts = min(row.attempts, _OUTAGES_COUNT) if outage else row.attempts
        said = f"{type(error).__name__}: {error}"[:500]
        try:
            await self._box.failed(row.id, said, retry_at, attempts)
            await self._box.released(rest)
        except Outage:
            _LOG.warning("row %s comes again when its lease is over", row.id)
