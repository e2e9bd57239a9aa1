"""
How many orders reserve in a second, beside the ways in which others do it.

Ours is the product's own door: keys, tombstones, the ledger, an answer for each order. The first
peer is one conditional UPDATE and one INSERT for each order, in one prepared statement; each of
its callers has a connection of its own, or one of 32. Blocks of both take turns in one run; every
caller awaits its own durable answer. How we stand to the peer with the pool that makes it fastest
is told beside (`..._tuned`).
"""

from __future__ import annotations

import asyncio
import itertools
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, NamedTuple

from sqlalchemy import text

from cli import scratch
from cli.bench import Metric, at_least, at_most
from cli.rivals import Rivals
from domain.errors import Refused
from domain.network import Calendar, Node, NodeKind
from domain.orders import Units
from storage import audit, database, network, stock
from storage.asks import Ask
from storage.batching import Batcher
from storage.database import transaction

SUMMARY: Final = "orders reserved a second: one hot SKU, 10,000 SKUs, 3 lines; beside peers"

_SKUS: Final = tuple(f"SKU-{n:05}" for n in range(10_000))
_PLENTY: Final = 1_000_000
_FEW: Final = 1_500
_ROUNDS: Final = 5
_WARM: Final = 0.3  # of a block

Order = Callable[[str, Sequence[str]], Awaitable[bool]]


class _Case(NamedTuple):
    callers: int
    skus: int
    lines: int
    target: float


_CASES: Final = {
    "hot_sku_ratio_32": _Case(32, 1, 1, 10),
    "hot_sku_ratio_320": _Case(320, 1, 1, 15),
    "uniform_ratio": _Case(320, 10_000, 1, 3),
    "multi_line_ratio": _Case(320, 10_000, 3, 2),
}


def measure(seed: int, seconds: float = 45.0) -> dict[str, Metric]:
    """Takes about `seconds`, and a few more to start and to count."""
    with scratch.postgres() as url:
        return asyncio.run(_measured(url, random.Random(seed), seconds))  # noqa: S311 - not a secret


async def _measured(url: str, chance: random.Random, seconds: float) -> dict[str, Metric]:
    bench = _Bench(url, chance)
    try:
        return await bench.run(seconds / (_ROUNDS * (3 * len(_CASES) + 3)))
    finally:
        await bench.close()


class _Bench:
    def __init__(self, url: str, chance: random.Random) -> None:
        self._url = url
        self._chance = chance
        self._engine = database.engine(url)
        self._batcher = Batcher(self._engine)
        self._ours: Order = partial(self._by, self._batcher)
        self._peers = Rivals(url)
        self._number = itertools.count()
        self._taken: dict[str, int] = {}

    async def close(self) -> None:
        await self._peers.close()
        await self._engine.dispose()

    async def run(self, block: float) -> dict[str, Metric]:
        metrics = await self._durability()
        await self._stock()
        await self._peers.open(_SKUS, _PLENTY, units=int(20_000 * block * (_ROUNDS + 1)))
        for name, case in _CASES.items():
            metrics |= await self._compared(name, case, block)
        metrics |= await self._others(block)
        sold_out = await self._sold_out()
        return metrics | await self._counted(sold_out)

    async def _compared(self, name: str, case: _Case, block: float) -> dict[str, Metric]:
        """Ours and the first peer in turn, the peer also with the pool that is its fastest."""
        theirs = self._peers.conditional if case.lines == 1 else self._peers.conditional_lines
        own = max(self._peers.widths)
        tuned, best = own, 0.0
        for pool in self._peers.widths:
            self._peers.use(pool)
            rate = await self._block(theirs, case, block * _WARM)
            tuned, best = (pool, rate) if rate > best else (tuned, best)
        await self._block(self._ours, case, block * _WARM)
        ours: list[float] = []
        peer: list[float] = []
        fastest: list[float] = []
        for _ in range(_ROUNDS):
            ours.append(await self._block(self._ours, case, block))
            for pool, rates in ((own, peer), (tuned, fastest)):
                self._peers.use(pool)
                rates.append(await self._block(theirs, case, block))
        ratios = [a / b for a, b in zip(ours, peer, strict=True)]
        tuned_ratios = [a / b for a, b in zip(ours, fastest, strict=True)]
        stem = name.replace("_ratio", "")
        return {
            name: at_least(statistics.median(ratios), case.target, "x"),
            f"{name}_min": Metric(value=min(ratios), unit="x"),
            f"{name}_max": Metric(value=max(ratios), unit="x"),
            f"{name}_tuned": Metric(value=statistics.median(tuned_ratios), unit="x"),
            f"{stem}_ours": Metric(value=statistics.median(ours), unit="orders/s"),
            f"{stem}_peer": Metric(value=statistics.median(peer), unit="orders/s"),
            f"{stem}_peer_tuned": Metric(value=statistics.median(fastest), unit="orders/s"),
            f"{stem}_peer_tuned_pool": Metric(value=tuned, unit="connections"),
        }

    async def _others(self, block: float) -> dict[str, Metric]:
        """The other peers on the hot SKU, with as many callers as connections."""
        self._peers.use(max(self._peers.widths))
        case = _CASES["hot_sku_ratio_32"]
        others = (self._peers.two_statements, self._peers.unit_rows, self._peers.ledger_sum)
        rates: dict[str, list[float]] = {order.__name__: [] for order in others}
        for _ in range(_ROUNDS):
            for order in others:
                rates[order.__name__].append(await self._block(order, case, block))
        return {
            f"hot_sku_32_{name}": Metric(value=statistics.median(found), unit="orders/s")
            for name, found in rates.items()
        }

    async def _block(self, order: Order, case: _Case, seconds: float) -> float:
        """Orders answered in a second, while every caller asks again as soon as it is answered."""
        skus = _SKUS[: case.skus]
        until = time.perf_counter() + seconds
        done = 0

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() < until or not done:
                chosen = self._chance.sample(skus, case.lines) if len(skus) > 1 else skus
                reserved = await order(f"O{next(self._number)}", chosen)
                done += reserved

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(case.callers)))
        return done / (time.perf_counter() - began)

    async def _by(self, batcher: Batcher, order_id: str, skus: Sequence[str]) -> bool:
        units = [Units(line_id=str(n), sku=sku, quantity=1) for n, sku in enumerate(skus)]
        answer = await batcher.reserve(Ask(order_id, order_id, units))
        self._taken[order_id] = len(answer.taken)
        return not answer.missing

    async def _sold_out(self) -> int:
        """Twice as many orders as units, through two batchers at once: how many were answered."""
        second = database.engine(self._url)
        doors = itertools.cycle((self._batcher, Batcher(second)))
        wanted = [f"S{n}" for n in range(2 * _FEW)]
        answers = await asyncio.gather(*(self._by(next(doors), o, ["RARE"]) for o in wanted))
        await second.dispose()
        return sum(answers)

    async def _counted(self, sold_out: int) -> dict[str, Metric]:
        """What the rows say: nothing sold twice, and each order got what it was told."""
        async with transaction(self._engine) as conn:
            await conn.execute(text("SET LOCAL statement_timeout = '120s'"))
            rows = await conn.execute(
                text(
                    "SELECT reservation_id, sum(quantity) AS units FROM reservation_lines"
                    " GROUP BY reservation_id"
                )
            )
            kept = {row.reservation_id: row.units for row in rows}
            over = await conn.execute(
                text(
                    "SELECT coalesce(sum(greatest(promised - on_hand, 0)), 0) FROM"
                    " (SELECT sku, sum(on_hand) AS on_hand FROM stock GROUP BY sku) AS s JOIN"
                    " (SELECT sku, sum(quantity) AS promised FROM reservation_lines GROUP BY sku)"
                    " AS r USING (sku)"
                )
            )
            oversold = over.scalar_one() + max(sold_out - _FEW, 0)
            found = [f for f in await audit.audit(conn) if f.invariant in {1, 2}]
        told = {order_id: units for order_id, units in self._taken.items() if units}
        unlike = len(told.items() ^ kept.items())
        return {
            "oversold": at_most(oversold, 0, "units"),
            "sold_out": at_least(sold_out, _FEW, f"of {_FEW}"),
            "answers_unlike_rows": at_most(unlike, 0, "orders"),
            "audit_findings": at_most(len(found), 0, "findings"),
            "orders_checked": Metric(value=len(self._taken), unit="orders"),
        }

    async def _durability(self) -> dict[str, Metric]:
        """Raises Refused unless a commit is on the disk when it is answered."""
        async with transaction(self._engine) as conn:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                if (await conn.execute(text(f"SHOW {setting}"))).scalar_one() != "on":
                    raise Refused(f"{setting} is not on: what is answered would not be durable")
        return {"fsync_and_synchronous_commit": Metric(value=1, unit="on")}

    async def _stock(self) -> None:
        node = Node(
            code="DC",
            name="DC",
            kind=NodeKind.DC,
            postal_code="75201",
            latitude=32.78,
            longitude=-96.8,
            calendar=Calendar(timezone="America/Chicago"),
        )
        lines = [*((sku, _PLENTY) for sku in _SKUS), ("RARE", _FEW)]
        async with transaction(self._engine) as conn:
            await network.put_node(conn, node)
            await stock.receive(conn, "bench", "DC", lines, "receipt", "bench")
        async with self._engine.connect() as conn:
            await conn.execution_options(isolation_level="AUTOCOMMIT")
            await conn.execute(text("VACUUM ANALYZE"))
