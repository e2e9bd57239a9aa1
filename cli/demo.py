"""The demo: a day of a sample network in under a minute, with everything that goes wrong on it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from cli import sample
from cli.audit import audit
from cli.commands.stack import show
from cli.demo_report import Report, history_lengths, report
from cli.demo_shop import Shop
from cli.printing import console
from cli.sample import DemoOrder
from cli.settings import Settings, load
from cli.stack import lifecycle
from cli.stack.record import Record
from cli.stack.site import Site
from cli.target import run as run_async
from cli.wiring import engine, temporal
from connectors.sandbox.config import load as load_partners
from domain.errors import Refused
from domain.orders import OrderStatus
from storage import access, reads
from storage.database import transaction
from storage.reads import OrderProgress
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
_ORDERS_PER_SECOND: Final = 9.0
_AT_MOST_SECONDS: Final = 180.0
_LOOK: Final = 0.4


@dataclass
class Day:
    """The orders of the day as they are sent, and how far each is."""

    orders: list[DemoOrder]
    sent_at: dict[str, datetime] = field(default_factory=dict)
    of: dict[str, DemoOrder] = field(default_factory=dict)
    seen: dict[str, OrderProgress] = field(default_factory=dict)

    def named(self, scenario: str) -> list[OrderProgress]:
        """The orders of a scenario that are known already."""
        ids = [order_id for order_id, order in self.of.items() if order.scenario == scenario]
        return [self.seen[order_id] for order_id in ids if order_id in self.seen]

    def expected(self, scenario: str) -> int:
        return sum(order.scenario == scenario for order in self.orders)

    @property
    def over(self) -> int:
        return sum(progress.terminal for progress in self.seen.values())


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
    day = Day(orders=_scenes_first(sample.demo_orders(made, count, seed)))
    async with _world(settings) as (opened, shop, client):
        for staged in made.staged:
            await shop.stage(staged)
        stop = asyncio.Event()
        playing = [
            asyncio.create_task(_send(day, shop)),
            asyncio.create_task(_direct(day, shop, stop)),
        ]
        await _watch(day, opened, playing, screen)
        stop.set()
        await asyncio.gather(*playing)
        partners = load_partners(_partners_file(settings)).database
        with screen.status("auditing our tables, Temporal and the partners' own logs"):
            audited = await audit(opened, client, partners)
            lengths = await history_lengths(client, set(day.of))
        expected = {order_id: order.expected for order_id, order in day.of.items()}
        return report(day.seen, expected, day.sent_at, lengths, audited.findings, len(day.orders))


def _scenes_first(orders: list[DemoOrder]) -> list[DemoOrder]:
    """What takes its time starts first: the day is over sooner."""
    slow = ("silent", "pickup_expired", "node_down", "backorder")
    return sorted(orders, key=lambda order: (order.scenario not in slow, order.scenario == "plain"))


@contextlib.asynccontextmanager
async def _world(settings: Settings) -> AsyncIterator[tuple[AsyncEngine, Shop, Client]]:
    client = await temporal(settings)
    partners = load_partners(_partners_file(settings))
    async with engine(settings) as opened, httpx.AsyncClient(timeout=30) as http:
        async with transaction(opened) as conn:
            key = await access.create(conn, "demo", _SCOPES)
        sandbox = os.environ["CROSSDOCK_SANDBOX_URL"]
        yield opened, Shop(http, sandbox, partners.control_token, settings.api_url, key), client


def _partners_file(settings: Settings) -> os.PathLike[str]:
    if settings.sandbox_file is None:
        raise Refused("there are no sandbox partners here")
    return settings.sandbox_file


async def _send(day: Day, shop: Shop) -> None:
    """The shops' customers order, at a steady pace, each without waiting for the others."""

    async def place(order: DemoOrder) -> None:
        order_id, at = await shop.place(order)
        day.of[order_id] = order
        day.sent_at[order_id] = at

    async with asyncio.TaskGroup() as customers:
        for order in day.orders:
            customers.create_task(place(order))
            await asyncio.sleep(1 / _ORDERS_PER_SECOND)


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
            async with transaction(opened) as conn:
                open_now = [o for o in day.of if o not in day.seen or not day.seen[o].terminal]
                for found in await reads.progress(conn, open_now):
                    day.seen[found.order_id] = found
            progress.update(sent, completed=len(day.of))
            progress.update(over, completed=day.over)
            for task in playing:
                if task.done():
                    task.result()


async def _direct(day: Day, shop: Shop, stop: asyncio.Event) -> None:
    """What people do meanwhile: release, cancel, take a node down, book goods in."""
    done: set[str] = set()
    while not stop.is_set():
        for held in day.named("held"):
            if held.status is OrderStatus.ON_HOLD and held.order_id not in done:
                done.add(held.order_id)
                await shop.release(held.order_id)
        for wanted in day.named("cancelled"):
            if "accepted" in (wanted.requests or ()) and wanted.order_id not in done:
                done.add(wanted.order_id)
                await shop.cancel(wanted.order_id, day.of[wanted.order_id])
        short = [o for o in day.named("backorder") if o.status is OrderStatus.BACKORDERED]
        if len(short) == day.expected("backorder") > 0 and "receipt" not in done:
            done.add("receipt")
            await shop.receive("DC-IND", "SCN-BACKORDER", 20)
        working = [o for o in day.named("node_down") if "accepted" in (o.requests or ())]
        if len(working) == day.expected("node_down") > 0 and "down" not in done:
            done.add("down")
            await shop.node("TPL-RNO", "down")
        moved = [o for o in day.named("node_down") if o.terminal]
        if len(moved) == day.expected("node_down") > 0 and "up" not in done:
            done.add("up")
            await shop.node("TPL-RNO", "up")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _LOOK)
