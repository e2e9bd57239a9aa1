"""Every verb in any order, one after the other and at once: the auditor finds nothing, ever."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Literal, TypeVar

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Outage, Refused
from domain.fulfillments import LineQuantity
from domain.network import Product
from domain.orders import Units
from storage import audit, database, feeds, network, reservations, stock
from storage.asks import Ask
from storage.batching import Batcher
from storage.database import transaction
from storage.feeds import Delta, Snapshot
from storage.tables import metadata
from tests.samples import a_node, a_share
from tests.storage.conftest import NODES

SKUS = ("A", "B")
NAMES = st.sampled_from([f"R{n}" for n in range(8)])
PLACES = st.sampled_from((None, None, *NODES))
FEW = st.integers(1, 4)

Verb = Callable[["House"], Awaitable[object]]
Result = TypeVar("Result")


class House:
    """Two processes' doors to one database, and keys that come again now and then."""

    def __init__(self, url: str) -> None:
        self.engines = [database.engine(url, size=6) for _ in range(2)]
        self.doors = [Batcher(engine) for engine in self.engines]
        self.turn = itertools.count()

    async def do(self, work: Callable[[AsyncConnection], Awaitable[Result]]) -> Result:
        async with transaction(self.engines[next(self.turn) % 2]) as conn:
            return await work(conn)

    async def close(self) -> None:
        for engine in self.engines:
            await engine.dispose()


@st.composite
def reserving(draw: st.DrawFn) -> Verb:
    skus = draw(st.lists(st.sampled_from(SKUS), min_size=1, unique=True))
    units = [Units(line_id=sku, sku=sku, quantity=draw(FEW)) for sku in skus]
    ttl = timedelta(hours=1) if draw(st.booleans()) else None
    ask = Ask(
        draw(NAMES),
        "web-1",
        units,
        draw(PLACES),
        ttl=ttl,
        partial=draw(st.booleans()),
        takes_over=draw(st.one_of(st.none(), NAMES)),
    )
    wanted = {unit.sku: unit.quantity for unit in units}
    many = draw(st.booleans())

    async def verb(house: House) -> object:
        if many:
            answer = await house.doors[next(house.turn) % 2].reserve(ask)
        else:
            answer = await house.do(lambda conn: reservations.reserve(conn, ask))
        told = {s: answer.taken.get(s, 0) + answer.missing.get(s, 0) for s in wanted}
        assert told == wanted or not answer.taken
        return answer

    return verb


@st.composite
def moving(draw: st.DrawFn) -> Verb:
    name, key = draw(NAMES), f"K{draw(st.integers(0, 30))}"
    node, place = draw(st.sampled_from(NODES)), draw(PLACES)
    to: Literal["free", "reservation"] = draw(st.sampled_from(("free", "reservation")))
    lines = [LineQuantity(line_id=draw(st.sampled_from(SKUS)), quantity=draw(FEW))]
    share = a_share(f"F{key}", node, {lines[0].line_id: lines[0].quantity}, sku=lines[0].line_id)
    verbs: dict[str, Callable[[AsyncConnection], Awaitable[object]]] = {
        "transfer": lambda conn: reservations.transfer(conn, key, name, place),
        "fulfill": lambda conn: reservations.fulfill(conn, key, name, lines),
        "fulfill all": lambda conn: reservations.fulfill(conn, key, name),
        "confirm": lambda conn: reservations.confirm(conn, name, "web-1"),
        "release": lambda conn: reservations.release(conn, name, "cancelled"),
        "expire": lambda conn: _run_out(conn, name),
        "allocate": lambda conn: stock.allocate(conn, key, name, [share]),
        "ship": lambda conn: stock.ship(conn, key, share.fulfillment_id, ()),
        "give back": lambda conn: stock.give_back(
            conn,
            key,
            share.fulfillment_id,
            (),
            "free" if to == "free" else "reservation",
            name,
            "no",
        ),
    }
    work = verbs[draw(st.sampled_from(sorted(verbs)))]
    return lambda house: house.do(work)


@st.composite
def stocking(draw: st.DrawFn) -> Verb:
    node, sku, units = draw(st.sampled_from(NODES)), draw(st.sampled_from(SKUS)), draw(FEW)
    key = f"K{draw(st.integers(0, 30))}"
    verbs: dict[str, Callable[[AsyncConnection], Awaitable[object]]] = {
        "receive": lambda conn: stock.receive(conn, key, node, [(sku, units)], "receipt", "test"),
        "count": lambda conn: stock.count(conn, key, node, [(sku, units)], "test"),
        "down": lambda conn: stock.set_node_status(conn, node, "offline", "ops"),
        "up": lambda conn: stock.set_node_status(conn, node, "online", "ops"),
    }
    work = verbs[draw(st.sampled_from(sorted(verbs)))]
    return lambda house: house.do(work)


@st.composite
def feeding(draw: st.DrawFn) -> Verb:
    """A partner tells of a shelf: late, twice, out of order, and of fewer than are allocated."""
    shelf = {"node": draw(st.sampled_from(NODES)), "sku": draw(st.sampled_from(SKUS))}
    key, sequence, ago = f"F{draw(st.integers(0, 30))}", draw(st.integers(1, 20)), draw(FEW)
    source, counts = draw(st.sampled_from(("wms", "pos"))), draw(st.booleans())
    units = draw(st.integers(0, 6)) if counts else draw(st.integers(-3, 3).filter(bool))

    async def fed(conn: AsyncConnection) -> object:
        told = {**shelf, "sequence": sequence, "at": datetime.now(UTC) - timedelta(seconds=ago - 1)}
        snapshot = Snapshot.model_validate({**told, "on_hand": abs(units)})
        delta = Delta.model_validate({**told, "change": units or 1})
        return await feeds.take(conn, source, key, [snapshot if counts else delta], "test")

    return lambda house: house.do(fed)


async def _run_out(conn: AsyncConnection, name: str) -> object:
    """The time of this reservation is over, and the sweep comes by."""
    over = "UPDATE reservations SET expires_at = now() - interval '1 s' WHERE reservation_id = :id"
    await conn.execute(text(f"{over} AND state = 'held'"), {"id": name})
    return await reservations.expire(conn)


VERBS = st.one_of(reserving(), reserving(), moving(), moving(), stocking(), feeding())


class AnyOrder(RuleBasedStateMachine):
    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        names = ", ".join(table.name for table in metadata.sorted_tables)
        with psycopg.connect(self.url, autocommit=True) as db:
            db.execute(f"TRUNCATE {names} RESTART IDENTITY CASCADE".encode())
        self.loop = asyncio.Runner()
        self.house = House(self.url)
        self.loop.run(self._open())

    async def _open(self) -> None:
        async with transaction(self.house.engines[0]) as conn:
            for code in NODES:
                await network.put_node(conn, a_node(code, pickup=True))
                lines = [(sku, 5) for sku in SKUS]
                await stock.receive(conn, "first", code, lines, "receipt", "test")
            await network.put_products(conn, [Product(sku=sku) for sku in SKUS])

    @rule(verb=VERBS)
    def one(self, verb: Verb) -> None:
        self.loop.run(self._tried(verb))

    @rule(verbs=st.lists(VERBS, min_size=2, max_size=6))
    def at_once(self, verbs: list[Verb]) -> None:
        self.loop.run(self._all(verbs))

    @rule(verbs=st.lists(VERBS, min_size=2, max_size=6))
    def a_crash_in_the_middle(self, verbs: list[Verb]) -> None:
        self.loop.run(self._all([*verbs, _crash]))

    @invariant()
    def the_books_are_true(self) -> None:
        self.loop.run(self._tried(_audited))

    def teardown(self) -> None:
        self.loop.run(self.house.close())
        self.loop.close()

    async def _all(self, verbs: list[Verb]) -> None:
        await asyncio.gather(*(self._tried(verb) for verb in verbs))

    async def _tried(self, verb: Verb) -> None:
        """As a step of a workflow is: a refusal ends it, an outage has it done again."""
        for _ in range(5):
            try:
                await verb(self.house)
            except Refused:
                return
            except Outage:
                continue
            return


async def _audited(house: House) -> None:
    """Nothing to find, and what has ended holds nothing."""
    found = await house.do(audit.audit)
    assert [finding for finding in found if finding.invariant in {1, 2, 5}] == []
    ended = text(
        "SELECT reservation_id FROM reservations JOIN reservation_lines USING (reservation_id)"
        " WHERE state NOT IN ('held', 'committed') AND quantity > 0"
    )
    holding = await house.do(lambda conn: conn.execute(ended))
    assert holding.all() == []


async def _crash(house: House) -> object:
    """Every other session ends, whatever it is doing."""
    end = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    return await house.do(lambda conn: conn.execute(text(end)))


@pytest.mark.parametrize("days", [3, pytest.param(15, marks=pytest.mark.long)])
def test_in_any_order_and_at_once_the_books_stay_true(postgres_url: str, days: int) -> None:
    machine: Any = type("Machine", (AnyOrder,), {"url": postgres_url})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=days,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
