"""Supply, kits, carts, stores, feeds and orders that wait, all in one day: the books stay true."""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.errors import Outage, Refused
from domain.kits import exploded
from domain.network import Component, Product
from domain.orders import Units
from storage import (
    audit,
    backorders,
    feeds,
    kits,
    network,
    records,
    reservations,
    stock,
    supplies,
)
from storage.asks import Ask
from storage.batching import Batcher
from storage.database import transaction
from storage.feeds import Delta, Snapshot
from storage.supplies import Supply
from storage.tables import backorders as waiting
from storage.tables import reservation_lines, supply_claims
from tests.samples import NOON, a_change, a_share, an_order
from tests.storage.conftest import NODES

PARTS = ("A", "B", "C")
_GIFT = (Component(sku="A", quantity=1), Component(sku="B", quantity=2))
CATALOGUE = (
    *(Product(sku=sku) for sku in PARTS),
    Product(sku="GIFT", components=_GIFT),
    Product(sku="LOOSE", components=_GIFT, ships_together=False),
)
STEPS = 70


class Wish:
    """What an order wants, and where; it asks for just that until it has it."""

    def __init__(self, lines: tuple[Units, ...], node: str | None, cart: str | None) -> None:
        self.lines, self.node, self.cart = lines, node, cart


class Days:
    def __init__(self, engine: AsyncEngine, seed: int) -> None:
        self.engine = engine
        self.doors = [Batcher(engine), Batcher(engine)]
        self.chance = random.Random(seed)  # noqa: S311
        self.numbers = Counter[str]()
        self.open: dict[str, Wish] = {}
        self.served: dict[str, Wish] = {}
        self.carts: list[str] = []
        self.shares: dict[str, str] = {}
        self.done = Counter[str]()

    def next(self, what: str) -> str:
        self.numbers[what] += 1
        return f"{what}{self.numbers[what]}"

    def some_place(self) -> str | None:
        return self.chance.choice((None, None, None, "ST-C"))

    async def step(self) -> None:
        verbs: list[tuple[Callable[[], Awaitable[None]], int]] = [
            (self.order, 6), (self.again, 8), (self.cancel, 3), (self.cart, 4), (self.let_go, 2),
            (self.run_out, 2), (self.move, 2), (self.state, 5), (self.receive, 8), (self.flip, 2),
            (self.feed, 3), (self.allocate, 4), (self.settle, 4), (self.count, 1),
        ]  # fmt: skip
        verb = self.chance.choices([v for v, _ in verbs], [weight for _, weight in verbs])[0]
        for _ in range(5):
            try:
                await verb()
            except Refused as no:
                self.done[no.code] += 1
            except Outage:
                continue
            else:
                self.done[verb.__name__] += 1
            return

    async def lines(self) -> tuple[Units, ...]:
        wanted = self.chance.sample(CATALOGUE, self.chance.randint(1, 2))
        sold = [
            Units(line_id=str(n), sku=product.sku, quantity=self.chance.randint(1, 3))
            for n, product in enumerate(wanted, 1)
        ]
        async with transaction(self.engine) as conn:
            return exploded(sold, await kits.recipes(conn, [line.sku for line in sold]))

    async def order(self) -> None:
        cart = self.chance.choice(self.carts[-4:]) if self.carts and self._even() else None
        wish = Wish(await self.lines(), self.some_place(), cart)
        order = an_order(self.next("")[:9])
        async with transaction(self.engine) as conn:
            await records.accept(conn, order, "run", a_change(order, 1))
        await self.ask(order.order_id, wish)

    async def ask(self, order_id: str, wish: Wish) -> None:
        self.open[order_id] = wish
        ask = Ask(
            f"{order_id}-R1",
            order_id,
            wish.lines,
            wish.node,
            channel="web",
            takes_over=wish.cart,
            waits=True,
        )
        answer = await self.chance.choice(self.doors).reserve(ask)
        if not answer.missing:
            assert answer.taken == {line.line_id: line.quantity for line in wish.lines}
            self.open.pop(order_id, None)
            self.served[order_id] = wish
            self.done["served"] += 1

    async def again(self) -> None:
        if self.open:
            order_id = self.chance.choice(sorted(self.open))
            await self.ask(order_id, self.open[order_id])

    async def cancel(self) -> None:
        if not (self.open or self.served):
            return
        order_id = self.chance.choice(sorted([*self.open, *self.served]))
        self.open.pop(order_id, None)
        self.served.pop(order_id, None)
        async with transaction(self.engine) as conn:
            await backorders.leave(conn, order_id)
            await reservations.release(conn, f"{order_id}-R1", "cancelled")

    async def cart(self) -> None:
        name = f"web/{self.next('c')}"
        ask = Ask(
            name,
            None,
            await self.lines(),
            self.some_place(),
            channel="web",
            ttl=timedelta(hours=1),
            partial=self._even(),
            digest=name,
        )
        if (await self.chance.choice(self.doors).reserve(ask)).taken:
            self.carts.append(name)

    async def let_go(self) -> None:
        if self.carts:
            async with transaction(self.engine) as conn:
                await reservations.release(conn, self.chance.choice(self.carts[-6:]), "emptied")

    async def run_out(self) -> None:
        if self.carts:
            over = "UPDATE reservations SET expires_at = now() WHERE reservation_id = :id"
            async with transaction(self.engine) as conn:
                name = self.chance.choice(self.carts[-6:])
                await conn.execute(text(f"{over} AND state = 'held'"), {"id": name})
                await reservations.expire(conn)

    async def move(self) -> None:
        if self.carts:
            async with transaction(self.engine) as conn:
                name, node = self.chance.choice(self.carts[-6:]), self.some_place()
                await reservations.transfer(conn, self.next("t"), name, node)

    async def state(self) -> None:
        supply = Supply(
            source="erp",
            ref=(ref := f"PO-{self.chance.randint(1, 6)}"),
            sequence=self.numbers["seq"],
            kind="purchase_order",
            node=self.chance.choice(NODES),
            sku=PARTS[int(ref[-1]) % 3],
            quantity=self.chance.randint(0, 9),
            expected_at=NOON + timedelta(days=self.chance.randint(1, 30)),
            confidence=self.chance.choice(("firm", "firm", "tentative")),
            status=self.chance.choice(("open", "open", "open", "cancelled")),
        )
        self.next("seq")
        async with transaction(self.engine) as conn:
            await supplies.put(conn, supply, "test")

    async def receive(self) -> None:
        ref, key = f"PO-{self.chance.randint(1, 6)}", self.next("in")
        lines = [(PARTS[int(ref[-1]) % 3], self.chance.randint(1, 4))]
        async with transaction(self.engine) as conn:
            nodes = await supplies.nodes_of(conn, "erp", ref)
            named = ("erp", ref) if nodes and self.chance.random() < 0.7 else None
            node = nodes[0] if named else self.chance.choice(NODES)
            await stock.receive(conn, key, node, lines, "received", "test", named)

    async def flip(self) -> None:
        status = "offline" if self.chance.random() < 0.3 else "online"
        async with transaction(self.engine) as conn:
            node = self.chance.choice(NODES)
            await stock.set_node_status(
                conn, node, "offline" if status == "offline" else "online", "ops"
            )

    async def feed(self) -> None:
        told = {
            "node": self.chance.choice(NODES),
            "sku": self.chance.choice(PARTS),
            "sequence": int(self.next("f")[1:]),
            "at": datetime.now(UTC),
        }
        snapshot = Snapshot.model_validate({**told, "on_hand": self.chance.randint(0, 6)})
        delta = Delta.model_validate({**told, "change": self.chance.choice((-2, -1, 1, 2))})
        async with transaction(self.engine) as conn:
            row = self.chance.choice((snapshot, delta))
            await feeds.take(conn, "wms", f"{told['sequence']}", [row], "test")

    async def count(self) -> None:
        async with transaction(self.engine) as conn:
            lines = [(self.chance.choice(PARTS), self.chance.randint(2, 6))]
            await stock.count(conn, self.next("count"), self.chance.choice(NODES), lines, "test")

    async def allocate(self) -> None:
        if not self.served:
            return
        order_id = self.chance.choice(sorted(self.served))
        wish = self.served[order_id]
        node = wish.node or self.chance.choice(NODES)
        name = self.next("F")
        some = self.chance.sample(wish.lines, self.chance.randint(1, len(wish.lines)))
        share = a_share(name, node, {u.line_id: u.quantity for u in some}, order_id=order_id)
        async with transaction(self.engine) as conn:
            if not await stock.allocate(conn, self.next("K"), f"{order_id}-R1", [share]):
                self.shares[name] = order_id

    async def settle(self) -> None:
        """A share of an order ships, or goes back to its reservation or to all."""
        if not self.shares:
            return
        name, order_id = self.shares.popitem()
        to = self.chance.choice(("ship", "free", "reservation"))
        async with transaction(self.engine) as conn:
            if to == "ship":
                await stock.ship(conn, self.next("S"), name, ())
                return
            back = "free" if to == "free" else "reservation"
            key = self.next("B")
            await stock.give_back(
                conn, key, name, (), "free" if back == "free" else "reservation",
                f"{order_id}-R1", "no",
            )  # fmt: skip

    def _even(self) -> bool:
        return self.chance.random() < 0.5


async def _true(conn: AsyncConnection, when: str) -> None:
    found = [f for f in await audit.audit(conn) if f.invariant in {1, 2, 5}]
    assert found == [], when
    over = await conn.execute(
        text(
            "SELECT s.ref FROM supplies AS s JOIN supply_claims AS c USING (source, ref)"
            " GROUP BY s.source, s.ref HAVING sum(c.units) > s.quantity - s.received"
        )
    )
    assert over.all() == [], when


async def _plenty(days: Days) -> None:
    """Once there is enough of all at all nodes, nobody waits."""
    async with transaction(days.engine) as conn:
        for node in NODES:
            await stock.set_node_status(conn, node, "online", "ops")
            lines = [(sku, 999) for sku in PARTS]
            await stock.receive(conn, "plenty", node, lines, "received", "test")
    for order_id, wish in sorted(days.open.items()):
        await days.ask(order_id, wish)
    assert days.open == {}
    async with transaction(days.engine) as conn:
        await _true(conn, "when nobody waits")


async def _over(days: Days) -> None:
    """Once every order and cart has ended, nothing is kept for anyone."""
    async with transaction(days.engine) as conn:
        for order_id in [*days.open, *days.served]:
            await backorders.leave(conn, order_id)
            await reservations.release(conn, f"{order_id}-R1", "over")
        for name in days.carts:
            await reservations.release(conn, name, "over")
        kept = select(func.coalesce(func.sum(reservation_lines.c.quantity), 0))
        assert (await conn.execute(kept)).scalar_one() == 0
        for table in (waiting, supply_claims):
            assert (await conn.execute(select(func.count()).select_from(table))).scalar_one() == 0
        await _true(conn, "at the end")


@pytest.fixture
async def shop(world: AsyncEngine) -> AsyncEngine:
    async with transaction(world) as conn:
        await network.put_products(conn, CATALOGUE)
    return world


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_meets_the_books_stay_true(shop: AsyncEngine, seed: int) -> None:
    days = Days(shop, seed)
    for number in range(STEPS):
        await days.step()
        async with transaction(shop) as conn:
            await _true(conn, f"after step {number} of seed {seed}: {days.done}")
    await _plenty(days)
    assert days.done["served"]
    await _over(days)


async def test_whatever_meets_at_once_the_books_stay_true(shop: AsyncEngine) -> None:
    days = Days(shop, 99)
    for number in range(12):
        await asyncio.gather(*(days.step() for _ in range(6)))
        async with transaction(shop) as conn:
            await _true(conn, f"after round {number}: {days.done}")
    await _plenty(days)
    await _over(days)
