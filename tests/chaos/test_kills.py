"""Every part of a running stack is killed -9 with orders in flight: no order is lost or doubled."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from cli import sample
from cli.demo_day import Day, direct, look, scenes_first, send
from cli.demo_shop import Shop
from cli.stack.record import Process, Record
from cli.stack.services import services
from cli.stack.site import Site, api_url
from connectors.sandbox.config import Pace, load
from domain.errors import Outage, Refused
from storage import access, database
from storage.database import transaction
from workflows.messages import Patience

ROOT: Final = Path(__file__).parents[2]
ORDERS: Final = int(os.environ.get("CROSSDOCK_CHAOS_ORDERS", "60"))
SCOPES: Final = frozenset({"orders:read", "orders:write", "nodes:write", "stock:write", "ops"})
# Long enough that an outage of seconds is no reason to look for another node.
PATIENCE: Final = Patience.model_validate(
    {
        "dispatch": "PT5M",
        "acknowledge": "PT75S",
        "recall": "PT45S",
        "pickup_window": "PT90S",
    }
)
# Slow enough that next to every order is in flight at every kill.
PACE: Final = Pace(accept_ms=(50, 2000), ship_ms=(25_000, 60_000), deliver_ms=(2000, 10_000))
SLOW_MS: Final = 120_000
VICTIMS: Final = ("worker", "api", "temporal", "postgres")
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]


class Customer(Shop):
    """Orders like any other, and tries again for as long as nobody answers."""

    async def _ask(self, method: str, url: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        while True:
            try:
                answer = await self._http.request(method, url, json=body, headers=headers)
            except httpx.TransportError:
                await asyncio.sleep(0.5)
                continue
            if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                await asyncio.sleep(0.5)
                continue
            found: dict[str, Any] = answer.json()
            # A conflict: the try before, whose answer was lost, has done it.
            if answer.is_error and answer.status_code != HTTPStatus.CONFLICT:
                raise Refused(f"{method} {url}: {answer.status_code} {answer.text[:300]}")
            return found


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A stack of its own, whose partners take their time."""
    for name in [name for name in os.environ if name.startswith("CROSSDOCK_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CROSSDOCK_HOME", str(tmp_path))
    monkeypatch.setenv("CROSSDOCK_PATIENCE", PATIENCE.model_dump_json())
    monkeypatch.setenv("CROSSDOCK_POLL_SECONDS", "2")
    monkeypatch.setenv("CROSSDOCK_RECONCILE_SECONDS", "10")
    site = Site("up")
    up(site)
    # Nor does a customer at the counter leave when the store is told to try again later.
    unhurried = load(site.sandbox_file).model_copy(update={"pace": PACE, "give_up_after": 1000})
    site.sandbox_file.write_text(unhurried.model_dump_json())
    yield site
    crossdock("down")


async def test_whatever_is_killed_every_order_ends_as_it_should(site: Site) -> None:
    await kill(site, "sandbox")
    day = Day(orders=scenes_first(sample.demo_orders(sample.network(), ORDERS, 1)))
    async with world(site) as (engine, shop):
        for staged in sample.network().staged:
            await shop.stage(staged)
        stop = asyncio.Event()
        playing = asyncio.gather(send(day, shop), direct(day, shop, stop), watch(day, engine, stop))
        await until(lambda: len(day.of) > ORDERS // 2, playing)
        for name in VICTIMS:
            in_flight = len(day.of) - day.over
            took = await kill(site, name)
            tell(f"{name} killed with {in_flight} orders in flight, started again in {took:.1f} s")
            assert in_flight > len(day.of) // 2
        await until(lambda: len(day.of) == ORDERS, playing)
        in_flight = len(day.of) - day.over
        kill_all(site)
        took = await asyncio.to_thread(up, site)
        tell(f"all killed with {in_flight} orders in flight, ready again in {took:.1f} s")
        assert in_flight > ORDERS // 2
        await until(lambda: day.over == ORDERS, playing, seconds=400, why=lambda: stuck(day))
        stop.set()
        await playing

    assert {i: day.seen[i].status for i in day.of} == {i: o.expected for i, o in day.of.items()}
    assert crossdock("audit") == "0 findings\n"
    assert crossdock("down") == "stopped: up\n"
    assert crossdock("audit") == "0 findings\n"


async def kill(site: Site, name: str) -> float:
    """Kill -9; once it works again, how many seconds it took the supervisor to start it."""
    began = time.monotonic()
    before = process(site, name)
    os.kill(before.pid, signal.SIGKILL)
    await until(lambda: process(site, name).restarts > before.restarts)
    restarted = time.monotonic() - began
    service = next(one for one in services(site, running(site).ports) if one.name == name)
    assert service.ready is not None
    while not await service.ready():
        assert time.monotonic() < began + 60, f"{name} does not come back"
        await asyncio.sleep(0.1)
    return restarted


def kill_all(site: Site) -> None:
    """The supervisor last, but before it can bring anything back or end anything in peace."""
    record = running(site)
    for victim in (*record.processes, record.supervisor):
        os.kill(victim.pid, signal.SIGKILL)


def up(site: Site) -> float:
    began = time.monotonic()
    said = crossdock("up", "--detach")
    assert site.record() is not None, said
    assert running(site).ready, said
    return time.monotonic() - began


def running(site: Site) -> Record:
    record = site.record()
    assert record is not None
    return record


def process(site: Site, name: str) -> Process:
    return next(one for one in running(site).processes if one.name == name)


def tell(line: str) -> None:
    """Figures for who runs this by hand: pytest -s."""
    sys.stderr.write(f"\n{line}")


def crossdock(*words: str) -> str:
    command = [sys.executable, "-P", "-m", "cli", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@asynccontextmanager
async def world(site: Site) -> AsyncIterator[tuple[AsyncEngine, Customer]]:
    ports = running(site).ports
    engine = database.engine(site.postgres(ports.postgres).url)
    async with transaction(engine) as conn:
        key = await access.create(conn, "chaos", SCOPES)
    token = load(site.sandbox_file).control_token
    sandbox = f"http://127.0.0.1:{ports.sandbox}"
    async with httpx.AsyncClient(timeout=30) as http:
        yield engine, Customer(http, sandbox, token, api_url(ports), key, slow_ms=SLOW_MS)
    await engine.dispose()


async def watch(day: Day, engine: AsyncEngine, stop: asyncio.Event) -> None:
    while not stop.is_set():
        with suppress(Outage):
            await look(day, engine)
        await asyncio.sleep(0.5)


def stuck(day: Day) -> str:
    """The orders that go nowhere."""
    found = [i for i in day.of if i not in day.seen or not day.seen[i].terminal]
    words = [f"{i} ({day.of[i].scenario}) {getattr(day.seen.get(i), 'status', '?')}" for i in found]
    return f"{len(found)} orders do not end: " + ", ".join(sorted(words))


async def until(
    holds: Callable[[], bool],
    meanwhile: "asyncio.Future[Any] | None" = None,
    *,
    seconds: float = 60,
    why: Callable[[], str] = str,
) -> None:
    """Returns once it holds; an error of what goes on meanwhile is raised at once."""
    deadline = time.monotonic() + seconds
    while not holds():
        if meanwhile is not None and meanwhile.done():
            meanwhile.result()
        assert time.monotonic() < deadline, why()
        await asyncio.sleep(0.05)
