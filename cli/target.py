"""Finds the installation that a command speaks with."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from cli.settings import Settings, load
from cli.stack.lifecycle import running
from cli.stack.services import services
from cli.stack.site import Site, sites
from cli.stack.supervisor import Supervisor
from domain.errors import Refused

_Answer = TypeVar("_Answer")
_EXIT_PAUSE: Final = 0.1  # without it the Temporal client may crash the interpreter on its way out


def run(work: Coroutine[Any, Any, _Answer]) -> _Answer:
    """The work's answer, from an event loop of its own."""

    async def whole() -> _Answer:
        try:
            return await work
        finally:
            await asyncio.sleep(_EXIT_PAUSE)

    return asyncio.run(whole())


@asynccontextmanager
async def installation(*, start: tuple[str, ...] = ()) -> AsyncIterator[Settings]:
    """
    The settings of the environment where it names a database, else of the stack that runs here.

    Where neither is there, the services named by `start` run on the data used last, for as long as
    the context is open; a command that writes starts none and is Refused.
    """
    if "CROSSDOCK_DATABASE_URL" in os.environ:
        yield load()
        return
    if found := running():
        site, record = found
        os.environ.update(site.environment(record.ports))
        yield load()
        return
    known = sites()
    if not start or not known:
        raise Refused("nothing is up; run ./crossdock up, or set CROSSDOCK_DATABASE_URL")
    async with _revived(known[0], start) as settings:
        yield settings


@asynccontextmanager
async def _revived(site: Site, names: tuple[str, ...]) -> AsyncIterator[Settings]:
    with site.lock():
        ports = site.choose_ports()
        chosen = [one for one in services(site, ports) if one.name in names]
        supervisor = Supervisor(site, ports, chosen, lambda _: None)
        try:
            await supervisor.up(announce=False)
            os.environ.update(site.environment(ports))
            yield load()
        finally:
            await supervisor.down()
