"""Gives back what carts and checkouts have held for longer than they may."""

from __future__ import annotations

import asyncio
import logging
from typing import Final
from uuid import uuid4

from activities.house import House
from domain.errors import Outage
from storage import claims, inbox, reservations
from storage.database import transaction

_LOG: Final = logging.getLogger(__name__)
_AT_ONCE: Final = 100
_IDLE: Final = 1.0  # seconds


async def run(house: House) -> None:
    """Sweep for ever; several processes may, each takes what the others leave."""
    while True:
        try:
            async with transaction(house.engine) as conn:
                ended = await reservations.expire(conn, _AT_ONCE)
                if ended:  # what is free again, somebody may wait for
                    skus = await claims.skus_of(conn, ended)
                    await inbox.wake_backordered(conn, skus, uuid4().hex)
        except Outage as outage:
            _LOG.warning("%s", outage)
            ended = ()
        if len(ended) < _AT_ONCE:
            await asyncio.sleep(_IDLE)
