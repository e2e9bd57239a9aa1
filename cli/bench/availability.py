"""What reading availability costs: rows by SQL, our view of them, and our answers over HTTP."""

from __future__ import annotations

import asyncio
import base64
import gc
import os
import random
import signal
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import psycopg
from pydantic_core import from_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from api.availability import HowToAnswer, Question, answer
from cli import scratch
from cli.bench import Metric, at_least, at_most
from cli.callers import Call, call_steadily
from cli.stack.ports import answers, free_port
from cli.stack.services import ROOT, crossdock
from cli.target import run
from domain.network import Calendar, Node, NodeKind
from domain.stock_rules import Rule, RuleKind
from storage import access, database, network, stock, stock_rules
from storage.database import transaction
from storage.stock_view import StockView

SUMMARY: Final = "5 SKUs at 300 nodes: rows by SQL against our view, and the answer over HTTP"

_SKUS: Final = 5
_SAFETY: Final = 1
_CALLERS: Final = 50
_RATE: Final = 300.0

# The leanest way to read the same: no rules looked up, the safety stock known beforehand.
_PEER: Final = """
SELECT s.sku, s.node, s.on_hand - s.allocated - %s FROM stock AS s
JOIN nodes AS n ON n.code = s.node AND n.status = 'online'
WHERE s.sku = ANY(%s) AND s.on_hand - s.allocated > %s
"""

_UNITS: Final = """
SELECT :name || '-' || k AS sku, 'ND' || lpad(n::text, 4, '0') AS node,
  (hashint4(k * 7919 + n) & 1048575) % 20 AS units
FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS k,
  generate_series(0, CAST(:nodes AS int)) AS n
"""
_STOCK: Final = text(f"INSERT INTO stock (sku, node, on_hand) {_UNITS}")
_POOL: Final = text(
    f"INSERT INTO pool (sku, available) SELECT sku, sum(units) FROM ({_UNITS}) AS u GROUP BY sku"  # noqa: S608 - a constant
)

_HOW: Final = HowToAnswer(by_node=True)

Shelves = dict[str, dict[str, int]]


class Scale(NamedTuple):
    """How much of it. `rows` grow from `few` to `many`, 100 nodes to a SKU."""

    nodes: int = 300
    most_nodes: int = 1000
    skus: int = 40
    few: int = 1_000
    many: int = 1_000_000
    rounds: int = 8
    reads: int = 40
    seconds: float = 10.0


def measure(seed: int) -> dict[str, Metric]:
    return measured(seed, Scale())


def measured(seed: int, scale: Scale) -> dict[str, Metric]:
    """Raises where two ways to read do not answer the same."""
    with scratch.postgres(durable=False) as url:
        return run(_measured(url, random.Random(seed), scale))  # noqa: S311 - a choice of SKUs


async def _measured(url: str, chance: random.Random, scale: Scale) -> dict[str, Metric]:
    engine = database.engine(url)
    try:
        key = await _build(engine, scale)
        view = StockView(engine)
        sizes = [await _compare(url, view, size, chance, scale) for size in _sizes(scale)]
        few = await _grow(engine, view, 0, scale.few, chance, scale)
        calls = await _over_http(url, engine, key, chance, scale)
        many = await _grow(engine, view, scale.few, scale.many, chance, scale)
    finally:
        await engine.dispose()
    p99 = statistics.quantiles([call.seconds * 1000 for call in calls], n=100)[98]
    least, middle, most = sizes
    return {
        "read_ratio": at_least(middle.sql / middle.ours, 10, "x"),
        "sql_p50_us": Metric(value=middle.sql, unit="us"),
        "ours_p50_us": Metric(value=middle.ours, unit="us"),
        "first_read_p50_us": Metric(value=middle.first, unit="us"),
        "first_read_ratio": Metric(value=middle.sql / middle.first, unit="x"),
        "answers_compared": Metric(value=sum(size.equal for size in sizes), unit="answers"),
        "http_p99_ms": at_most(p99, 10, "ms", decides=False),
        "http_p50_ms": Metric(value=_p50([c.seconds * 1000 for c in calls]), unit="ms"),
        "http_calls": Metric(value=len(calls), unit="calls"),
        "oldest_answer_ms": at_most(max(_age(call) for call in calls), 1000, "ms"),
        f"sql_{scale.most_nodes}_to_10_nodes": Metric(value=most.sql / least.sql, unit="x"),
        f"ours_{scale.most_nodes}_to_10_nodes": Metric(value=most.ours / least.ours, unit="x"),
        "ours_10_nodes_us": Metric(value=least.ours, unit="us"),
        f"ours_{scale.most_nodes}_nodes_us": Metric(value=most.ours, unit="us"),
        "warm_few_rows_us": Metric(value=few.warm, unit="us"),
        "warm_many_rows_us": Metric(value=many.warm, unit="us"),
        "warm_growth": Metric(value=many.warm / few.warm, unit="x"),
        "cold_few_rows_us": Metric(value=few.cold, unit="us"),
        "cold_many_rows_us": Metric(value=many.cold, unit="us"),
        "cold_growth": Metric(value=many.cold / few.cold, unit="x"),
    }


# ---- what is there


async def _build(engine: AsyncEngine, scale: Scale) -> str:
    """Nodes, rules, a key, and for each size of network some SKUs that all its nodes stock."""
    async with transaction(engine) as conn:
        for number in range(scale.most_nodes):
            await network.put_node(conn, _node(number))
        await stock_rules.put(
            conn,
            [
                Rule(kind=RuleKind.SAFETY, units=_SAFETY),
                Rule(kind=RuleKind.THRESHOLD, channel="web", units=10),
            ],
            "bench",
        )
        for size in _sizes(scale):
            await _stock(conn.execute, f"N{size}", 0, scale.skus, size)
        return await access.create(conn, "bench", ["stock:read"], channels=["web"])


def _sizes(scale: Scale) -> tuple[int, int, int]:
    return 10, scale.nodes, scale.most_nodes


def _node(number: int) -> Node:
    return Node(
        code=f"ND{number:04}",
        name=f"Node {number}",
        kind=NodeKind.STORE,
        postal_code="75201",
        latitude=25 + number % 97 / 4,
        longitude=-120 + number % 89 / 2,
        calendar=Calendar(timezone="America/Chicago"),
        pickup=True,
    )


async def _stock(
    execute: Callable[..., Awaitable[Any]], name: str, first: int, last: int, nodes: int
) -> None:
    """SKUs `{name}-{first}` to before last, at so many nodes, of 0 to 19 units each."""
    rows = {"name": name, "first": first, "last": last - 1, "nodes": nodes - 1}
    await execute(_STOCK, rows)
    await execute(_POOL, rows)


# ---- reading


class _Compared(NamedTuple):
    """
    p50 in microseconds, and how many answers were the same. `first` is the read after a change,
    for which what is offered is worked out; the reads until the next change find it so.
    """

    sql: float
    ours: float
    first: float
    equal: int


async def _compare(
    url: str, view: StockView, nodes: int, chance: random.Random, scale: Scale
) -> _Compared:
    """Interleaved, the same SKUs by both; the view was read before, as it is in use."""
    await view.read([f"N{nodes}-{k}" for k in range(scale.skus)])
    sql: list[float] = []
    ours: list[float] = []
    first: list[float] = []
    equal = 0
    with psycopg.connect(url, autocommit=True, prepare_threshold=1) as db:
        for _ in range(scale.rounds):
            asked = [_some(f"N{nodes}", scale.skus, chance) for _ in range(scale.reads)]
            by_rows = [await _timed(sql, _later(_rows, db, skus)) for skus in asked]
            by_view = [await _timed(ours, _later(_viewed, view, skus)) for skus in asked]
            channel = f"new{equal}"  # of which nothing has been worked out
            anew = [await _timed(first, _later(_viewed, view, asked[0], channel))]
            if by_rows != by_view or anew != by_rows[:1]:
                raise AssertionError("the view does not answer what the rows say")
            equal += len(asked) + len(anew)
    return _Compared(_p50(sql), _p50(ours), _p50(first), equal)


def _some(name: str, count: int, chance: random.Random) -> list[str]:
    return [f"{name}-{k}" for k in chance.sample(range(count), _SKUS)]


def _later(
    read: Callable[..., Awaitable[Shelves]], *given: Any
) -> Callable[[], Awaitable[Shelves]]:
    return lambda: read(*given)


async def _timed(into: list[float], read: Callable[[], Awaitable[Shelves]]) -> Shelves:
    start = time.perf_counter()
    found = await read()
    into.append((time.perf_counter() - start) * 1e6)
    return found


async def _rows(db: psycopg.Connection[Any], skus: list[str]) -> Shelves:
    shelves: Shelves = {sku: {} for sku in skus}
    for sku, node, units in db.execute(_PEER, (_SAFETY, skus, _SAFETY)):
        shelves[sku][node] = units
    return shelves


async def _viewed(view: StockView, skus: list[str], channel: str = "web") -> Shelves:
    """The product's own answer, whole."""
    said = answer(await view.read(skus), Question(channel, dict.fromkeys(skus, 1), _HOW))
    return {item["sku"]: item["nodes"] for item in said["items"]}


# ---- growth


class _Grown(NamedTuple):
    """p50 in microseconds of a read of SKUs that are in the view, and of some that are not."""

    warm: float
    cold: float


async def _grow(  # noqa: PLR0913, PLR0917 - from how many rows to how many
    engine: AsyncEngine,
    view: StockView,
    before: int,
    rows: int,
    chance: random.Random,
    scale: Scale,
) -> _Grown:
    async with transaction(engine) as conn:
        await _stock(conn.execute, "G", before // 100, rows // 100, 100)
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level="AUTOCOMMIT")
        await conn.execute(text("VACUUM ANALYZE stock"))
    warm: list[float] = []
    cold: list[float] = []
    for _ in range(scale.rounds):
        fresh = StockView(engine)
        await fresh.read([])
        skus = _some("G", rows // 100, chance)
        await _timed(cold, _later(_viewed, fresh, skus))
        await view.read(skus)
        for _ in range(scale.reads):
            await _timed(warm, _later(_viewed, view, skus))
    return _Grown(_p50(warm), _p50(cold))


# ---- over HTTP


async def _over_http(
    url: str, engine: AsyncEngine, key: str, chance: random.Random, scale: Scale
) -> list[Call]:
    """A real API process, callers at a steady rate, and stock that changes meanwhile."""
    asked = [_some(f"N{scale.nodes}", scale.skus, chance) for _ in range(97)]
    paths = [
        "/v1/availability?by_node=true&" + "&".join(f"sku={sku}" for sku in skus) for skus in asked
    ]
    gc.collect()
    gc.freeze()  # what was measured before is not looked through while callers wait
    async with _api(url) as port:
        await call_steadily(port, paths, key, callers=5, rate=50, seconds=2)
        changing = asyncio.create_task(_change(engine, scale, chance))
        calls = await call_steadily(
            port, paths, key, callers=_CALLERS, rate=_RATE, seconds=scale.seconds
        )
        changing.cancel()
        await asyncio.gather(changing, return_exceptions=True)
    return calls


async def _change(engine: AsyncEngine, scale: Scale, chance: random.Random) -> None:
    """Twenty receipts a second, each of one unit."""
    number = 0
    while True:
        number += 1
        sku = f"N{scale.nodes}-{chance.randrange(scale.skus)}"
        node = f"ND{chance.randrange(scale.nodes):04}"
        async with transaction(engine) as conn:
            await stock.receive(conn, f"bench {number}", node, [(sku, 1)], "receipt", "bench")
        await asyncio.sleep(0.05)


@asynccontextmanager
async def _api(url: str) -> AsyncIterator[int]:
    """The API as it is deployed, on a free port, for as long as the context is open."""
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "CROSSDOCK_DATABASE_URL": url,
        "CROSSDOCK_TEMPORAL_ADDRESS": f"127.0.0.1:{free_port()}",
        "CROSSDOCK_KEYS": f'{{"k1": "{base64.b64encode(bytes(32)).decode()}"}}',
        "CROSSDOCK_ACTIVE_KEY": "k1",
        "CROSSDOCK_SESSION_SECRET": "of this benchmark alone",
        "CROSSDOCK_API_PORT": str(port),
        "CROSSDOCK_LOG_LEVEL": "warning",
    }
    serving = await asyncio.create_subprocess_exec(*crossdock("api")(), cwd=ROOT, env=environment)
    try:
        while not answers(port):
            if serving.returncode is not None:
                raise RuntimeError("the API did not start")
            await asyncio.sleep(0.1)
        yield port
    finally:
        serving.send_signal(signal.SIGTERM)
        await asyncio.wait_for(serving.wait(), 20)


def _age(call: Call) -> int:
    body = from_json(call.body)
    if len(body["items"]) != _SKUS:
        raise AssertionError("not an answer about these SKUs")
    return int(body["age_ms"])


def _p50(values: list[float]) -> float:
    return statistics.median(values)
