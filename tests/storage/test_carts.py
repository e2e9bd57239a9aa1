"""An order takes over its cart's units: they are nobody else's, at no instant."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import Conflict
from domain.network import Product
from domain.orders import Units
from domain.stock_rules import Rule, RuleKind
from storage import audit, feeds, network, reservations, stock, stock_rules
from storage.asks import Answer, Ask
from storage.batching import Batcher
from storage.carts import Cart
from storage.database import transaction
from storage.feeds import Snapshot
from tests.storage.conftest import stocked

HOUR = timedelta(hours=1)
CART = "web/c1"


def an_ask(name: str, quantity: int, **more: Any) -> Ask:
    units = [Units(line_id="1", sku=more.pop("sku", "A"), quantity=quantity)]
    order_id = None if "/" in name else name.rpartition("-")[0]
    return Ask(name, order_id, units, channel="web", **more)


async def take(engine: AsyncEngine, *asks: Ask) -> list[Answer]:
    """All at the door at once, in this order."""
    door = Batcher(engine)
    return list(await asyncio.gather(*(door.reserve(ask) for ask in asks)))


async def a_cart(engine: AsyncEngine, quantity: int, name: str = CART, **more: Any) -> None:
    [answer] = await take(engine, an_ask(name, quantity, ttl=HOUR, **more))
    assert not answer.missing


async def available(engine: AsyncEngine, sku: str = "A") -> int:
    async with transaction(engine) as conn:
        return (await stock.available(conn, [sku]))[sku]


async def of(engine: AsyncEngine, name: str = CART) -> tuple[str, str | None, int]:
    """State, order, and units still held."""
    query = text(
        "SELECT state, order_id, sum(quantity) AS units FROM reservations"
        " JOIN reservation_lines USING (reservation_id) WHERE reservation_id = :id GROUP BY 1, 2"
    )
    async with transaction(engine) as conn:
        row = (await conn.execute(query, {"id": name})).one()
    return row.state, row.order_id, row.units


async def clean(engine: AsyncEngine) -> None:
    async with transaction(engine) as conn:
        found: Sequence[audit.Finding] = await audit.audit(conn)
    assert [f for f in found if f.invariant in {1, 2, 5}] == []


async def test_the_last_units_go_to_the_order_of_the_cart_though_others_came_first(
    world: AsyncEngine,
) -> None:
    await stocked(world, {("A", "DC-A"): 2})
    await a_cart(world, 2)
    rivals = [an_ask(f"r{n}-R1", 1) for n in range(3)]
    *others, mine, late = await take(
        world, *rivals, an_ask("o1-R1", 2, takes_over=CART), an_ask("r9-R1", 1)
    )
    assert mine == Answer({"1": 2}, {}, Cart(CART, "taken", None, {"A": 2}))
    assert [answer.missing for answer in (*others, late)] == [{"A": 1}] * 4
    assert await of(world) == ("released", "o1", 0)
    assert await available(world) == 0
    await clean(world)


async def test_nobody_ever_sees_the_units_free(world: AsyncEngine, postgres_url: str) -> None:
    await stocked(world, {("A", "DC-A"): 20})
    for n in range(20):
        await a_cart(world, 1, f"web/c{n}")
    seen: set[int] = set()
    stolen: list[Answer] = []
    over = asyncio.Event()

    async def thief() -> None:
        door = Batcher(world)
        while not over.is_set():
            seen.add(await available(world))
            stolen.append(await door.reserve(an_ask(f"t{len(stolen)}-R1", 1)))

    stealing = asyncio.create_task(thief())
    for n in range(20):
        [answer] = await take(world, an_ask(f"o{n}-R1", 1, takes_over=f"web/c{n}"))
        assert not answer.missing
    over.set()
    await stealing
    assert seen == {0}
    assert stolen
    assert all(answer.missing for answer in stolen)
    await clean(world)


async def test_what_the_cart_lacks_is_taken_and_what_it_has_too_many_of_is_free(
    world: AsyncEngine,
) -> None:
    await stocked(world, {("A", "DC-A"): 5, ("B", "DC-A"): 5})
    await a_cart(world, 2)
    await a_cart(world, 4, "web/c2", sku="B")
    more, fewer = await take(
        world,
        an_ask("o1-R1", 4, takes_over=CART),
        an_ask("o2-R1", 1, sku="B", takes_over="web/c2"),
    )
    assert (more.taken, fewer.taken) == ({"1": 4}, {"1": 1})
    assert (await available(world), await available(world, "B")) == (1, 4)
    await clean(world)


async def test_an_order_that_is_short_takes_nothing_and_leaves_the_cart(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 2})
    await a_cart(world, 2)
    short, other = await take(
        world, an_ask("o1-R1", 3, takes_over=CART), an_ask("o2-R1", 1, takes_over="web/none")
    )
    assert short == Answer({}, {"A": 1})
    assert other == Answer({}, {"A": 1}, Cart("web/none", "unknown"))
    assert await of(world) == ("held", None, 2)
    await stocked(world, {("A", "DC-B"): 1})
    [later] = await take(world, an_ask("o1-R1", 3, takes_over=CART))
    assert later.taken == {"1": 3}
    await clean(world)


@pytest.mark.parametrize("fate", ["expired", "released", "used", "unknown"])
async def test_what_is_not_there_to_take_over_is_said_and_the_order_goes_the_ordinary_way(
    world: AsyncEngine, fate: str
) -> None:
    await stocked(world, {("A", "DC-A"): 3})
    if fate != "unknown":
        await a_cart(world, 1)
    async with transaction(world) as conn:
        match fate:
            case "expired":
                await conn.execute(text("UPDATE reservations SET expires_at = now()"))
                assert await reservations.expire(conn) == (CART,)
            case "released":
                await reservations.release(conn, CART, "changed mind")
            case "used":
                await reservations.confirm(conn, CART, "another")
    [answer] = await take(world, an_ask("o1-R1", 1, takes_over=CART))
    assert (answer.taken, answer.cart) == ({"1": 1}, Cart(CART, fate))  # type: ignore[arg-type]
    assert await available(world) == (1 if fate == "used" else 2)
    await clean(world)


async def test_two_orders_of_one_cart_the_first_has_it(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 1})
    await a_cart(world, 1)
    asks = [an_ask(f"o{n}-R1", 1, takes_over=CART) for n in range(3)]
    first, *others = await take(world, *asks)
    again = await take(world, *asks[:1], an_ask("o0-R2", 1, takes_over=CART))
    assert first.taken == {"1": 1}
    assert [o.cart for o in others] == [Cart(CART, "used")] * 2
    assert [a.cart for a in again] == [None, None]
    assert [bool(a.taken) for a in again] == [True, False]
    await clean(world)


async def test_a_cart_keeps_its_units_for_its_order_when_rules_hold_them_back_later(
    world: AsyncEngine,
) -> None:
    await stocked(world, {("A", "DC-A"): 5})
    await a_cart(world, 3)
    async with transaction(world) as conn:
        rule = Rule(kind=RuleKind.CAP, channel="web", units=1)
        await stock_rules.put(conn, [rule], actor="ann")
    other, mine, more = await take(
        world,
        an_ask("o2-R1", 1),
        an_ask("o1-R1", 3, takes_over=CART),
        an_ask("o3-R1", 1),
    )
    assert (other.missing, mine.taken, more.missing) == ({"A": 1}, {"1": 3}, {"A": 1})
    await clean(world)


@pytest.mark.parametrize(
    ("cart_at", "order_at"), [("ST-C", "ST-C"), ("ST-C", None), (None, "ST-C")]
)
async def test_from_shop_to_door_and_back(
    world: AsyncEngine, cart_at: str | None, order_at: str | None
) -> None:
    await stocked(world, {("A", "ST-C"): 2})
    await a_cart(world, 2, node=cart_at)
    rival, mine = await take(
        world, an_ask("o2-R1", 1), an_ask("o1-R1", 2, node=order_at, takes_over=CART)
    )
    assert (rival.taken, mine.taken) == ({}, {"1": 2})
    assert await available(world) == 0
    await clean(world)


async def test_a_store_that_has_not_what_the_cart_holds_there_cannot_give_it(
    world: AsyncEngine,
) -> None:
    await stocked(world, {("A", "ST-C"): 3})
    await a_cart(world, 2, node="ST-C")
    await a_cart(world, 1, "web/c2", node="ST-C")
    async with transaction(world) as conn:
        await network.put_products(conn, [Product(sku="A")])
        row = Snapshot(node="ST-C", sku="A", sequence=1, at=datetime.now(UTC), on_hand=1)
        taken = await feeds.take(conn, "pos", "f1", [row], "test")
    assert taken.short
    both, one = await take(
        world,
        an_ask("o1-R1", 2, node="ST-C", takes_over=CART),
        an_ask("o2-R1", 1, node="ST-C", takes_over="web/c2"),
    )
    assert (both.taken, one.taken) == ({}, {})
    async with transaction(world) as conn:
        await stock.set_node_status(conn, "ST-C", "offline", "ops")
    [offline] = await take(world, an_ask("o1-R1", 2, takes_over=CART))
    assert offline.missing == {"A": 2}
    await clean(world)


async def test_a_confirmed_cart_is_no_other_orders(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 1})
    await a_cart(world, 1)
    for _ in range(2):
        async with transaction(world) as conn:
            await reservations.confirm(conn, CART, "o1")
    with pytest.raises(Conflict, match="is order o1's"):
        async with transaction(world) as conn:
            await reservations.confirm(conn, CART, "o2")
    [answer] = await take(world, an_ask("o1-R1", 1, takes_over=CART))
    assert answer.taken == {"1": 1}
    assert await of(world) == ("released", "o1", 0)


async def test_a_key_stands_for_what_was_asked_under_it(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 9})
    asks = [an_ask(CART, 2, ttl=HOUR, digest="this") for _ in range(3)]
    answers = await take(world, *asks)
    assert answers == [Answer({"1": 2}, {})] * 3
    with pytest.raises(Conflict) as differs:
        await take(world, an_ask(CART, 3, ttl=HOUR, digest="that"))
    assert differs.value.code == "reservation_differs"
    async with transaction(world) as conn:
        told = (await conn.execute(text("SELECT channel, digest FROM reservation_requests"))).all()
    assert [tuple(row) for row in told] == [("web", "this")]
    assert await available(world) == 7
    await clean(world)


async def test_a_cart_that_holds_nothing_any_more_is_no_help(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 2})
    await a_cart(world, 1)
    async with transaction(world) as conn:
        assert await reservations.transfer(conn, "t", CART, "DC-A") == {}
        await conn.execute(text("DELETE FROM reservation_lines"))
    [answer] = await take(world, an_ask("o1-R1", 1, takes_over=CART))
    assert answer.taken == {"1": 1}
