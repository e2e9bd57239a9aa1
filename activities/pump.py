"""A loop that takes claimed rows, works on them side by side, and never loses one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol, TypeVar

from domain.errors import Outage, Refused

_LOG: Final = logging.getLogger(__name__)
_LONGEST: Final = timedelta(minutes=5)


class Item(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def attempts(self) -> int: ...


Row = TypeVar("Row", bound=Item)


async def pump(
    claim: Callable[[], Awaitable[Sequence[Sequence[Row]]]],
    work: Callable[[Row], Awaitable[str]],
    done: Callable[[int, str], Awaitable[None]],
    failed: Callable[[int, str, datetime], Awaitable[None]],
    *,
    idle: float = 0.1,
) -> None:
    """
    Run for ever. `claim` gives groups: inside a group one after the other, groups side by side.

    `work` answers with a note; a refusal is final and noted, anything else is tried again with a
    delay that doubles up to five minutes. A group stops at its first failure, so order is kept.
    """

    async def attempt(row: Row) -> bool:
        try:
            note = await work(row)
        except Refused as no:
            await done(row.id, f"refused: {no}")
        except Exception as error:
            if not isinstance(error, Outage):
                _LOG.exception("item %s failed", row.id)
            await failed(row.id, f"{type(error).__name__}: {error}"[:500], _later(row.attempts))
            return False
        else:
            await done(row.id, note)
        return True

    async def group(rows: Sequence[Row]) -> None:
        for row in rows:
            if not await attempt(row):
                return

    while True:
        try:
            groups = await claim()
            await asyncio.gather(*(group(rows) for rows in groups))
        except Outage as outage:
            _LOG.warning("%s", outage)
            groups = ()
            await asyncio.sleep(1)
        if not groups:
            await asyncio.sleep(idle)


def _later(attempts: int) -> datetime:
    delay = min(timedelta(seconds=min(2**attempts, 3600)), _LONGEST)
    return datetime.now(UTC) + delay
