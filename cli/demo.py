"""The demo: a day of a sample network in under a minute, with everything that goes wrong on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from cli import sample, sample_rules
from cli.audit import audit
from cli.commands.stack import show
from cli.demo_day import Day, direct, look, scenes_first, send
from cli.demo_report import Report, report
from cli.demo_shop import Shop
from cli.histories import count_events
from cli.printing import console
from cli.settings import Settings, load
from cli.stack import lifecycle
from cli.stack.record import Record
from cli.stack.site import Site
from cli.target import run as run_async
from cli.wiring import engine, temporal
from connectors.sandbox.config import load as load_partners
from domain.errors import Refused
from storage import access
from storage.database import transaction
from workflows.messages import Patience

# A day's patience, shortened: nodes have seconds to answer, a pickup waits for seconds.
HURRY: Final = Patience.model_validate(
    {
        "dispatch": "PT20S",
        "acknowledge": "PT15S",
        "recall": "PT10S",
        "pickup_window": "PT6S",
    }
)
_ENVIRONMENT: Final = {
    "CROSSDOCK_PATIENCE": HURRY.model_dump_json(),
    "CROSSDOCK_POLL_SECONDS": "2",
    "CROSSDOCK_RECONCILE_SECONDS": "10",
}
_SCOPES: Final = frozenset({"orders:read", "orders:write", "nodes:write", "stock:write", "ops"})
_AT_MOST_SECONDS: Final = 180.0
_LOOK: Final = 0.4


def run(orders: int, seed: int, keep: bool, as_json: bool) -> int:
    """Runs the demo; the exit code: 0 where every order ended as it should and nothing is wrong."""
    screen = Console(stderr=True) if as_json else console()
    site = Site("demo")
    lifecycle.halt(site)
    with site.lock():
        site.wipe()
    with screen.status("starting Postgres, Temporal, API, worker and sandbox partners"):
        record = lifecycle.launch_behind(site, bound=not keep, environment=_ENVIRONMENT)
    try:
        os.environ.update(site.environment(record.ports))
        result = run_async(_play(load(), orders, seed, screen))
    finally:
        if not keep:
            lifecycle.halt(site)
    _say(result, record if keep else None, screen)
    if as_json:
        print(result.model_dump_json(exclude={"problems"}))  # noqa: T201 - the last line
    return 0 if result.ok else 1


def _say(result: Report, record: Record | None, screen: Console) -> None:
    screen.print(result.table())
    for problem in result.problems:
        screen.print(f"[red]✗[/red] {problem}")
    if record is not None:
        show(record, screen)
        screen.print("  ./crossdock down ends it")


async def _play(settings: Settings, count: int, seed: int, screen: Console) -> Report:
    made = sample.network()
    day = Day(orders=scenes_first(sample.demo_orders(made, count, seed)))
    async with _world(settings) as (opened, shop, client):
        for staged in made.staged:
            await shop.stage(staged)
        stop = asyncio.Event()
        playing = [
            asyncio.create_task(send(day, shop)),
            asyncio.create_task(direct(day, shop, stop)),
        ]
        await _watch(day, opened, playing, screen)
        stop.set()
        await asyncio.gather(*playing)
        partners = load_partners(_partners_file(settings)).database
        with screen.status("auditing our tables, Temporal and the partners' own logs"):
            audited = await audit(opened, client, partners)
            async with transaction(opened) as conn:
                events = await count_events(conn, client)
        expected = {order_id: order.expected for order_id, order in day.of.items()}
        return report(day.seen, expected, day.sent_at, events, audited.findings, len(day.orders))


@contextlib.asynccontextmanager
async def _world(settings: Settings) -> AsyncIterator[tuple[AsyncEngine, Shop, Client]]:
    client = await temporal(settings)
    partners = load_partners(_partners_file(settings))
    async with engine(settings) as opened, httpx.AsyncClient(timeout=30) as http:
        async with transaction(opened) as conn:
            key = await access.create(conn, "demo", _SCOPES)
            await sample_rules.activate(conn, "crossdock demo")
        sandbox = os.environ["CROSSDOCK_SANDBOX_URL"]
        yield opened, Shop(http, sandbox, partners.control_token, settings.api_url, key), client


def _partners_file(settings: Settings) -> Path:
    if settings.sandbox_file is None:
        raise Refused("there are no sandbox partners here")
    return settings.sandbox_file


async def _watch(
    day: Day, opened: AsyncEngine, playing: list[asyncio.Task[None]], screen: Console
) -> None:
    """Until every order is over, or time is."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _AT_MOST_SECONDS
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen) as progress:
        sent = progress.add_task("orders sent", total=len(day.orders))
        over = progress.add_task("orders ended", total=len(day.orders))
        while day.over < len(day.orders) and loop.time() < deadline:
            await asyncio.sleep(_LOOK)
            await look(day, opened)
            progress.update(sent, completed=len(day.of))
            progress.update(over, completed=day.over)
            for task in playing:
                if task.done():
                    task.result()
