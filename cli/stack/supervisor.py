"""Keeps the processes of a stack running: in order, again when they die, and to the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from asyncio.subprocess import Process as Child
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from cli.stack import child
from cli.stack.record import Ports, Process, Record, end, strays
from cli.stack.services import ROOT, Service, child_environment
from cli.stack.site import Site
from domain.errors import Refused

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 15.0
_BACKOFF: Final = (0.2, 1.0, 2.0, 4.0)  # the last for ever: a dead process is back within 10 s
_STEADY_SECONDS: Final = 30.0
_LOG_BYTES: Final = 10_000_000
_LOGS_KEPT: Final = 3

Tell = Callable[[str], None]


class Supervisor:
    """One run of a stack; `up` first, then `watch`, and `down` in any case."""

    def __init__(self, site: Site, ports: Ports, services: Sequence[Service], tell: Tell) -> None:
        self._site = site
        self._ports = ports
        self._tell = tell
        self._services = tuple(services)
        self._environment = child_environment(site, ports)
        self._children: dict[str, Child] = {}
        self._processes: dict[str, Process] = {}
        self._ready = False

    async def up(self, *, announce: bool = True) -> None:
        """
        Starts each once those it comes after are ready; Refused with the last words of a failure.

        Other commands find the stack once it is announced.
        """
        left = strays(self._site.record(), self._site.folder)
        if left:
            self._tell(f"ending {len(left)} processes that a killed stack left behind")
            await asyncio.to_thread(end, left)
        self._write()
        ready = {service.name: asyncio.Event() for service in self._services}
        try:
            async with asyncio.TaskGroup() as starts:
                for service in self._services:
                    starts.create_task(self._bring_up(service, ready))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        self._ready = announce
        self._write()

    async def watch(self, stop: asyncio.Event) -> None:
        """Restarts whatever dies, until told to stop."""
        lasting = [service for service in self._services if not service.once]
        async with asyncio.TaskGroup() as tasks:
            keepers = [tasks.create_task(self._keep(service)) for service in lasting]
            keepers.append(tasks.create_task(self._rotate_logs()))
            await stop.wait()
            for keeper in keepers:
                keeper.cancel()

    async def down(self) -> None:
        """Ends all: those that stand on others at once, then the others."""
        stands_on_others = [service for service in self._services if service.after]
        stands_alone = [service for service in self._services if not service.after]
        for services in (stands_on_others, stands_alone):
            await asyncio.gather(*(self._end(service) for service in services))
        self._ready = False
        self._processes = {}
        self._write()

    async def _end(self, service: Service) -> None:
        running = self._children.get(service.name)
        if running is None or running.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            running.send_signal(service.stop_signal)
        try:
            await asyncio.wait_for(running.wait(), _STOP_SECONDS)
        except TimeoutError:
            running.kill()
            await running.wait()

    async def _bring_up(self, service: Service, ready: Mapping[str, asyncio.Event]) -> None:
        for name in service.after:
            if name in ready:  # of a stack that runs in part, the rest is taken to be there
                await ready[name].wait()
        began = time.monotonic()
        await self._start(service)
        try:
            await self._until_ready(service)
        except Refused:
            # Temporal finds ports of its own, which somebody else may take a moment before it does.
            if service.once or self._children[service.name].returncode is None:
                raise
            self._tell(f"{service.name} ended while it started; once more")
            await self._start(service)
            await self._until_ready(service)
        ready[service.name].set()
        self._tell(f"{service.name} is ready ({time.monotonic() - began:.1f} s)")

    async def _keep(self, service: Service) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            code = await self._children[service.name].wait()
            failures = 0 if time.monotonic() - began > _STEADY_SECONDS else failures + 1
            self._tell(f"{service.name} ended ({_how(code)}); it is started again")
            await asyncio.sleep(_BACKOFF[min(failures, len(_BACKOFF) - 1)])
            await self._start(service)

    async def _start(self, service: Service) -> None:
        await service.prepare()
        fate = ["--parent", str(os.getpid()), "--signal", str(int(service.stop_signal)), "--"]
        bound = [] if service.bound else [sys.executable, "-I", child.__file__, *fate]
        command = service.command()
        with self._log_of(service).open("ab") as log:
            started = await asyncio.create_subprocess_exec(
                *bound,
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env=self._environment | service.environment,
                start_new_session=True,
            )
        self._children[service.name] = started
        self._note(service, started)

    def _note(self, service: Service, started: Child) -> None:
        if service.once:
            return
        before = self._processes.get(service.name)
        with contextlib.suppress(psutil.Error):
            self._processes[service.name] = Process(
                name=service.name,
                pid=started.pid,
                started=psutil.Process(started.pid).create_time(),
                program=_program(service),
                restarts=before.restarts + 1 if before else 0,
            )
        self._write()

    async def _until_ready(self, service: Service) -> None:
        started = self._children[service.name]
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if service.once and started.returncode == 0:
                return
            if started.returncode is not None:
                break
            if service.ready is not None and await service.ready():
                return
            await asyncio.sleep(0.05)
        log = self._log_of(service)
        raise Refused(f"{service.name} did not start: {last_words(log)} (see {log})")

    async def _rotate_logs(self) -> None:
        while True:
            for service in self._services:
                rotate(self._log_of(service))
            await asyncio.sleep(10)

    def _log_of(self, service: Service) -> Path:
        return self._site.logs / f"{service.name}.log"

    def _write(self) -> None:
        own = psutil.Process()
        itself = Process(
            name="supervisor",
            pid=own.pid,
            started=own.create_time(),
            program=Path(own.cmdline()[0]).name,
        )
        self._site.write(
            Record(
                profile=self._site.profile,
                ports=self._ports,
                supervisor=itself,
                processes=tuple(self._processes.values()),
                ready=self._ready,
            )
        )


def rotate(log: Path) -> None:
    """A long log is copied and emptied; its writers append, so they go on at its start."""
    if not log.exists() or log.stat().st_size < _LOG_BYTES:
        return
    for number in range(_LOGS_KEPT - 1, 0, -1):
        older = log.with_suffix(f".log.{number}")
        if older.exists():
            older.replace(log.with_suffix(f".log.{number + 1}"))
    shutil.copyfile(log, log.with_suffix(".log.1"))
    os.truncate(log, 0)


def last_words(log: Path) -> str:
    """The last line that the process wrote."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "it said nothing"


def _program(service: Service) -> str:
    words = service.command()
    return Path(words[words.index("--") + 1] if "--" in words else words[0]).name


def _how(code: int) -> str:
    return f"by signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
