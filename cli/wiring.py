"""Opens what a process stands on, from the settings."""

from __future__ import annotations

import contextlib
import gc
import logging
import time
from collections.abc import AsyncIterator

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio.client import Client

from cli.settings import Settings
from cli.target import installation
from storage import database
from storage.database import transaction
from workflows.client import connect


@contextlib.asynccontextmanager
async def engine(settings: Settings, *, read_only: bool = False) -> AsyncIterator[AsyncEngine]:
    """The database; the read-only one is the replica where there is one."""
    url = (read_only and settings.read_database_url) or settings.database_url
    opened = database.engine(url, read_only=read_only)
    try:
        yield opened
    finally:
        await opened.dispose()


@contextlib.asynccontextmanager
async def conversation(
    *, start: tuple[str, ...] = (), read_only: bool = False
) -> AsyncIterator[AsyncConnection]:
    """One transaction with the installation that this command speaks with."""
    async with (
        installation(start=start) as settings,
        engine(settings, read_only=read_only) as opened,
        transaction(opened) as conn,
    ):
        yield conn


async def temporal(settings: Settings, *, lazy: bool = False) -> Client:
    """Raises Outage where Temporal is away; a lazy client finds out at its first call."""
    return await connect(
        settings.temporal_address, settings.temporal_namespace, settings.keyring(), lazy=lazy
    )


def settle_memory() -> None:
    """What is loaded by now stays: the collector need not walk over it, nor come so often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def write_logs(level: str) -> None:
    """One line a record on stderr, times in UTC."""
    logging.Formatter.converter = time.gmtime
    line = "%(asctime)sZ %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=level.upper(), format=line, datefmt="%Y-%m-%dT%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
