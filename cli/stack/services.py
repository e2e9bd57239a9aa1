"""Lists the processes of a stack in the order of their start; docker-compose runs the same."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx

from cli.pulse import is_fresh
from cli.stack.ports import LOOPBACK
from cli.stack.postgres import owner
from cli.stack.record import Ports, end
from cli.stack.site import Site

ROOT: Final = Path(__file__).resolve().parents[2]


async def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Service:
    """
    A process to start as soon as all those that it comes `after` are ready.

    `ready` is asked until it says so; a service that runs `once` is ready when it ends with exit
    code 0. `prepare` runs before every start. A `bound` command sees to it by itself that it ends
    with us.
    """

    name: str
    command: Callable[[], list[str]]
    ready: Callable[[], Awaitable[bool]] | None = None
    prepare: Callable[[], Awaitable[None]] = _nothing
    after: tuple[str, ...] = ()
    once: bool = False
    bound: bool = False
    stop_signal: signal.Signals = signal.SIGTERM
    environment: dict[str, str] = field(default_factory=dict)


def services(site: Site, ports: Ports) -> list[Service]:
    """Everything of one stack. Raises nothing: nothing is started yet."""
    postgres = site.postgres(ports.postgres)
    temporal = site.temporal(ports)

    async def prepare_postgres() -> None:
        await asyncio.to_thread(postgres.prepare)
        if left := owner(postgres.cluster):
            await asyncio.to_thread(end, [left])

    async def postgres_ready() -> bool:
        return await asyncio.to_thread(postgres.ready)

    async def prepare_temporal() -> None:
        temporal.prepare()

    async def worker_ready() -> bool:
        return is_fresh(site.pulse_file)

    async def forget_pulse() -> None:
        site.pulse_file.unlink(missing_ok=True)

    pulse = str(site.pulse_file)
    return [
        Service(
            "postgres",
            postgres.command,
            postgres_ready,
            prepare_postgres,
            bound=True,
            stop_signal=signal.SIGINT,
        ),
        Service("temporal", temporal.command, temporal.ready, prepare_temporal),
        Service("migrate", crossdock("migrate"), after=("postgres", "temporal"), once=True),
        Service("seed", crossdock("seed"), after=("migrate",), once=True),
        Service(
            "worker",
            crossdock("worker", "--pulse", pulse),
            worker_ready,
            forget_pulse,
            after=("migrate",),
        ),
        Service("api", crossdock("api"), _answers(ports.api), after=("migrate",)),
        Service("sandbox", crossdock("sandbox"), _answers(ports.sandbox), after=("seed",)),
    ]


def crossdock(*words: str) -> Callable[[], list[str]]:
    """A command of our own CLI, as the launcher would run it."""
    return lambda: [sys.executable, "-P", "-m", "cli", *words]


def child_environment(site: Site, ports: Ports) -> dict[str, str]:
    """What every process of the stack finds in its environment."""
    own = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **site.environment(ports), **own}


def _answers(port: int) -> Callable[[], Awaitable[bool]]:
    async def asked() -> bool:
        try:
            async with httpx.AsyncClient(timeout=2) as client:
                answer = await client.get(f"http://{LOOPBACK}:{port}/healthz")
        except httpx.HTTPError:
            return False
        return answer.is_success

    return asked
