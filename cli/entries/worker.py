"""Runs workflows, activities and pumps."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import httpx

from activities import worker
from activities.house import House
from cli.pulse import beat
from cli.settings import Settings
from cli.wiring import engine, settle_memory, temporal, write_logs
from workflows.addressing import ORDERS, partners_queue, sourcing_queue

_PARTNER_SECONDS: Final = 15.0


async def run(settings: Settings, pulse: Path | None) -> None:
    """Until SIGINT or SIGTERM, then what is under way ends in peace. Outage without Temporal."""
    write_logs(settings.log_level)
    settle_memory()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    client = await temporal(settings)
    async with AsyncExitStack() as stack:
        house = House(
            engine=await stack.enter_async_context(engine(settings)),
            client=client,
            keyring=settings.keyring(),
            http=await stack.enter_async_context(httpx.AsyncClient(timeout=_PARTNER_SECONDS)),
            patience=settings.patience,
            poll_seconds=settings.poll_seconds,
            batch_seconds=settings.batch_seconds,
            audit_seconds=settings.audit_seconds,
            audit_full_seconds=settings.audit_full_seconds,
            certified=settings.certified,
            prices_seconds=settings.prices_seconds,
            pricing=settings.pricing,
            policies=settings.policies(),
        )
        beating = asyncio.create_task(beat(client, _queue(settings), pulse)) if pulse else None
        try:
            await worker.run(house, settings.worker_roles, stop)
        finally:
            if beating is not None:
                beating.cancel()


def _queue(settings: Settings) -> str | None:
    """A queue that this worker polls, if it polls any."""
    queues = {
        "workflows": ORDERS,
        "partners": partners_queue(ORDERS),
        "sourcing": sourcing_queue(ORDERS),
    }
    named = [queues[role] for role in settings.worker_roles if role in queues]
    return named[0] if named else None
