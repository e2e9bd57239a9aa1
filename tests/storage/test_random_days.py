"""Whatever happens, in whatever order and however often: the auditor finds nothing."""

import asyncio
import random
from collections import Counter

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.errors import Refused
from domain.fulfillments import LineQuantity
from domain.orders import Units
from storage import audit, network, reservations, stock
from storage.asks import Ask
from storage.database import transaction
from storage.tables import reservation_lines
from tests.samples import a_node, a_share
from tests.storage.conftest import NODES, stocked

SKUS = ("A", "B", "C")
STEPS = 150


class Day:
    """Random verbs on a few orders; each is repeated now and then, also out of order."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311
        self.keys = Counter[str]()
        self.shares: list[str] = []
        self.outcomes = Counter[str]()

    def key(self, verb: str) -> str:
        """Mostly new; sometimes one that was used before."""
        if self.chance.random() < 0.85:
            self.keys[verb] += 1
        return f"{verb}{self.chance.randint(max(self.keys[verb] - 1, 0), self.keys[verb])}"

    async def step(self, conn: AsyncConnection) -> None:
        verb = self.chance.choices(
            (self.reserve, self.allocate, self.give_back, self.ship, self.release, self.receive,
             self.count, self.flip),
            (6, 10, 3, 5, 1, 6, 1, 1),
        )[0]  # fmt: skip
        try:
            await verb(conn)
        except Refused as refusal:
            self.outcomes[refusal.code] += 1
            raise
        self.outcomes[verb.__name__] += 1

    async def reserve(self, conn: AsyncConnection) -> None:
        units = [
            Units(line_id=str(n), sku=sku, quantity=self.chance.randint(1, 3))
            for n, sku in enumerate(SKUS[: self.chance.randint(1, 3)])
        ]
        node = self.chance.choice((None, None, None, "ST-C"))
        await reservations.reserve(conn, Ask(self.key("R"), "web-1", units, node))

    async def allocate(self, conn: AsyncConnection) -> None:
        name = f"R{self.chance.randint(max(self.keys['R'] - 5, 0), self.keys['R'])}"
        nodes = self.chance.sample(NODES, self.chance.randint(1, 2))
        names = {self.key("F"): node for node in nodes}
        shares = [
            a_share(share, node, {str(self.chance.randint(0, 1)): 1})
            for share, node in names.items()
        ]
        if not await stock.allocate(conn, self.key("K"), name, shares):
            self.shares += [share.fulfillment_id for share in shares]

    def some_share(self) -> str:
        return self.chance.choice([*self.shares[-6:], self.key("F")])

    async def give_back(self, conn: AsyncConnection) -> None:
        to = self.chance.choice(("reservation", "free"))
        name = f"R{self.chance.randint(0, self.keys['R'])}"
        share = self.some_share()
        await stock.give_back(
            conn, self.key("B"), share, (), "free" if to == "free" else "reservation", name, "no"
        )

    async def ship(self, conn: AsyncConnection) -> None:
        lines = [LineQuantity(line_id="0", quantity=1)] if self.chance.random() < 0.3 else []
        await stock.ship(conn, self.key("S"), self.some_share(), lines)

    async def release(self, conn: AsyncConnection) -> None:
        name = f"R{self.chance.randint(0, self.keys['R'] + 1)}"
        await reservations.release(conn, name, "cancelled")

    async def receive(self, conn: AsyncConnection) -> None:
        lines = [(self.chance.choice(SKUS), self.chance.randint(1, 5)) for _ in range(2)]
        node = self.chance.choice(NODES)
        await stock.receive(conn, self.key("in"), node, lines, "receipt", "test")

    async def count(self, conn: AsyncConnection) -> None:
        lines = [(self.chance.choice(SKUS), self.chance.randint(0, 8))]
        await stock.count(conn, self.key("count"), self.chance.choice(NODES), lines, "test")

    async def flip(self, conn: AsyncConnection) -> None:
        node = self.chance.choice(NODES)
        if self.chance.random() < 0.5:
            await stock.set_node_status(conn, node, "offline", "ops")
        else:
            await stock.set_node_status(conn, node, "online", "ops")
        if self.chance.random() < 0.2:
            limits = {"capacity_per_day": self.chance.randint(1, 9)}
            limits["units_per_day"] = self.chance.randint(1, 15)
            await network.put_node(conn, a_node(node, **limits))


@pytest.mark.parametrize("seed", range(6))
async def test_a_random_day_leaves_the_books_true(world: AsyncEngine, seed: int) -> None:
    day = Day(seed)
    for step in range(STEPS):
        try:
            async with transaction(world) as conn:
                await day.step(conn)
        except Refused:
            pass
        if step % 20 == 0 or step == STEPS - 1:
            async with transaction(world) as conn:
                found = [f for f in await audit.audit(conn) if f.invariant in {1, 2, 5}]
            assert found == [], f"after step {step} of seed {seed}"
    assert {"reserve", "allocate", "give_back", "ship", "release"} <= day.outcomes.keys()


async def _one_order(engine: AsyncEngine, chance: random.Random, name: str) -> None:
    """Reserve, allocate where there is something, ship or give back: each step its transaction."""
    units = [
        Units(line_id=str(n), sku=sku, quantity=1)
        for n, sku in enumerate(chance.sample(SKUS, chance.randint(1, 3)))
    ]
    lines = {unit.line_id: 1 for unit in units}
    async with transaction(engine) as conn:
        ask = Ask(f"{name}-R1", name, units)
        missing = (await reservations.reserve(conn, ask)).missing
    for round_ in range(0 if missing else 3):
        share = a_share(f"{name}-F{round_}", chance.choice(NODES), lines, order_id=name)
        async with transaction(engine) as conn:
            if await stock.allocate(conn, f"{name}/{round_}", f"{name}-R1", [share]):
                continue
        async with transaction(engine) as conn:
            if chance.random() < 0.5:
                await stock.ship(conn, f"{name}/ship", share.fulfillment_id, ())
                break
            key = f"{share.fulfillment_id}/back"
            await stock.give_back(
                conn, key, share.fulfillment_id, (), "reservation", f"{name}-R1", "no"
            )
    async with transaction(engine) as conn:
        await reservations.release(conn, f"{name}-R1", "over")


async def _nodes_go_up_and_down(engine: AsyncEngine, chance: random.Random) -> None:
    for n in range(20):
        async with transaction(engine) as conn:
            await stock.set_node_status(conn, "DC-B", "offline" if n % 2 == 0 else "online", "ops")
        async with transaction(engine) as conn:
            lines = [(sku, 1) for sku in chance.sample(SKUS, 3)]
            await stock.receive(conn, f"in{n}", chance.choice(NODES), lines, "receipt", "test")


async def test_all_at_once_neither_deadlocks_nor_loses_a_unit(world: AsyncEngine) -> None:
    await stocked(world, {(sku, node): 15 for sku in SKUS for node in NODES})
    chance = random.Random(1)  # noqa: S311
    gate = asyncio.Semaphore(8)

    async def gated(order: int) -> None:
        async with gate:
            await _one_order(world, chance, f"web-{order}")

    await asyncio.gather(
        _nodes_go_up_and_down(world, chance), *(gated(order) for order in range(80))
    )
    async with transaction(world) as conn:
        assert [f for f in await audit.audit(conn) if f.invariant in {1, 2, 5}] == []
        kept = (await conn.execute(select(func.sum(reservation_lines.c.quantity)))).scalar_one()
    assert kept == 0
