"""Brings a stack up, in the foreground or behind another command, and takes it down."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import psutil

from cli.stack import child
from cli.stack.record import Record, alive, end, strays
from cli.stack.services import ROOT, services
from cli.stack.site import Site, sites
from cli.stack.supervisor import Supervisor, Tell, last_words
from domain.errors import Refused

_LAUNCH_SECONDS: Final = 120.0
_DOWN_SECONDS: Final = 60.0


async def serve(site: Site, tell: Tell, ready: Callable[[Record], None]) -> None:
    """The stack in the foreground until SIGINT or SIGTERM. Conflict where it already runs."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with site.lock():
        ports = site.choose_ports()
        supervisor = Supervisor(site, ports, services(site, ports), tell)
        try:
            if await _unless(stop, supervisor.up()):
                record = site.record()
                if record is not None:
                    ready(record)
                await supervisor.watch(stop)
        finally:
            tell("stopping")
            await supervisor.down()


def launch_behind(site: Site, *, bound: bool, environment: dict[str, str] | None = None) -> Record:
    """
    Starts `up` of this profile as a process of its own and returns once everything is ready.

    A `bound` stack ends with the calling process; another one stays until `halt`. `environment` is
    added to what its processes find in theirs. Raises Refused with the last words of what failed.
    """
    site.prepare()
    log = site.logs / "up.log"
    fate = ["--parent", str(os.getpid())] if bound else []
    shim = [sys.executable, "-I", child.__file__, *fate, "--"]
    up = [sys.executable, "-P", "-m", "cli", "up", "--profile", site.profile, "--plain"]
    with log.open("wb") as file:
        started = subprocess.Popen(
            [*shim, *up],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            cwd=ROOT,
            env={**os.environ, **(environment or {}), "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )
    deadline = time.monotonic() + _LAUNCH_SECONDS
    while time.monotonic() < deadline and started.poll() is None:
        record = site.record()
        if record is not None and record.ready and record.supervisor.pid == started.pid:
            return record
        time.sleep(0.05)
    if started.poll() is None:
        started.terminate()
        started.wait(_DOWN_SECONDS)
    raise Refused(last_words(log).removeprefix("crossdock: "))


def halt(site: Site) -> bool:
    """Ends the stack of this profile and whatever a killed one left; false where nothing ran."""
    record = site.record()
    supervisor = alive(record.supervisor) if record else None
    if supervisor is not None:
        end([supervisor], patience=_DOWN_SECONDS)
        _reap(supervisor)
    with site.lock():
        left = strays(record, site.folder)
        end(left)
    return supervisor is not None or bool(left)


def running() -> tuple[Site, Record] | None:
    """The stack that is up now, the one used last where there are several."""
    for site in sites():
        record = site.record()
        if record is not None and record.ready and alive(record.supervisor):
            return site, record
    return None


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Does the work, or drops it when told to stop; true where it was done."""
    doing = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (doing, stopping):
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    if doing.cancelled():
        return False
    doing.result()
    return True


def _reap(process: psutil.Process) -> None:
    """Our own child leaves the process table only when it is waited for."""
    try:
        os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        return
