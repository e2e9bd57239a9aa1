"""Runs workflows and activities."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from activities import worker
from cli.pulse import beat
from cli.settings import Settings
from cli.wiring import engine, temporal, write_logs
from workflows.addressing import ORDERS


async def run(settings: Settings, pulse: Path | None) -> None:
    """Until SIGINT or SIGTERM, then what is under way ends in peace. Outage without Temporal."""
    write_logs(settings.log_level)
    client = await temporal(settings)
    async with engine(settings) as opened:
        working = asyncio.ensure_future(
            worker.run(opened, client, settings.keyring(), settings.patience, ...)
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, working.cancel)
        beating = asyncio.ensure_future(beat(client, ORDERS, pulse)) if pulse else None
        try:
            await working
        except asyncio.CancelledError:
            return
        finally:
            if beating is not None:
                beating.cancel()
