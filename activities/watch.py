"""Looks after stock watches: follows what changes, and tells of what fell low or came back."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from activities.house import House
from domain.errors import Outage
from storage import stock_watch
from storage.database import transaction
from storage.standing import one_moment
from storage.stock_feed import Changes, Feed

_LOG: Final = logging.getLogger(__name__)
_POLL_SECONDS: Final = 0.5


async def run(house: House) -> None:
    """For ever. Several workers may: each event is told once."""
    while True:
        try:
            await _follow(house)
        except Outage as outage:
            _LOG.warning("%s", outage)
            await asyncio.sleep(1)


async def _follow(house: House) -> None:
    """From the beginning: a new feed says that everything may have changed."""
    feed = Feed()
    while True:
        async with transaction(house.engine) as conn:
            await one_moment(conn)
            changes = await feed.poll(conn)
            skus = await stock_watch.watched(conn, changes) if _any(changes) else []
        if skus:
            async with transaction(house.engine) as conn:
                await stock_watch.look(conn, skus)
        await asyncio.sleep(_POLL_SECONDS)


def _any(changes: Changes) -> bool:
    return changes.everything or bool(changes.skus())
