"""Orders that wait, with carts and of kits: what they are kept, what they get, and who is next."""

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.kits import exploded
from domain.network import Component, Product
from domain.orders import OrderStatus, Units
from domain.stock_rules import Rule, RuleKind
from storage import kits, matching, network, records, stock_rules
from storage.asks import Answer, Ask
from storage.database import transaction
from storage.tables import backorders, inbox
from tests.samples import a_change, an_order
from tests.storage.conftest import stocked
from tests.storage.test_carts import CART, HOUR, of
from tests.storage.test_supply import Shop, day

GIFT = Product(
    sku="GIFT", components=(Component(sku="A", quantity=1), Component(sku="B", quantity=1))
)


@pytest.fixture
async def shop(world: AsyncEngine) -> Shop:
    async with transaction(world) as conn:
        await network.put_products(conn, [Product(sku="A"), Product(sku="B"), GIFT])
    return Shop(world)


async def wanting(
    shop: Shop, order_id: str, sku: str, units: int, cart: str | None = None
) -> Answer:
    sold = [Units(line_id="1", sku=sku, quantity=units)]
    async with transaction(shop.engine) as conn:
        lines = exploded(sold, await kits.recipes(conn, [sku]))
    ask = Ask(f"{order_id}-R1", order_id, lines, channel="web", takes_over=cart, waits=True)
    return await shop.batcher.reserve(ask)


async def a_cart(shop: Shop, units: int) -> None:
    wanted = [Units(line_id="1", sku="A", quantity=units)]
    answer = await shop.batcher.reserve(Ask(CART, None, wanted, channel="web", ttl=HOUR))
    assert not answer.missing


async def woken(shop: Shop) -> set[str]:
    async with transaction(shop.engine) as conn:
        rows = await conn.execute(select(inbox.c.order_id).where(inbox.c.kind == "supply"))
        return set(rows.scalars())


async def test_what_the_cart_of_an_order_with_a_date_holds_is_kept_for_it(shop: Shop) -> None:
    await stocked(shop.engine, {("A", "DC-A"): 2})
    await a_cart(shop, 2)
    await shop.state("PO-1", 1, 9)
    order = await shop.order(1)
    answer = await wanting(shop, order, "A", 3, CART)
    assert (answer.missing, answer.expected) == ({"A": 1}, day(9))
    assert answer.cart is not None
    assert answer.cart.fate == "taken"
    assert await of(shop.engine) == ("released", order, 0)
    await shop.clean()
    await shop.receive("PO-1", 1)
    assert await wanting(shop, order, "A", 3, CART) == Answer({"1": 3}, {})
    assert await shop.free() == 0
    await shop.clean()


async def test_an_order_gets_its_cart_with_what_came_for_it(shop: Shop) -> None:
    await stocked(shop.engine, {("A", "DC-A"): 2})
    await a_cart(shop, 2)
    order = await shop.order(1)
    assert (await wanting(shop, order, "A", 3, CART)).expected is None
    assert await of(shop.engine) == ("held", None, 2)
    await shop.state("PO-1", 1, 9)
    await shop.receive("PO-1", 1)
    answer = await wanting(shop, order, "A", 3, CART)
    assert (answer.taken, answer.missing) == ({"1": 3}, {})
    assert await of(shop.engine) == ("released", order, 0)
    assert await shop.free() == 0
    await shop.clean()


async def test_a_kit_of_which_a_part_came_is_whole_once_the_rest_is_there(shop: Shop) -> None:
    await stocked(shop.engine, {("A", "DC-A"): 1, ("B", "DC-B"): 1})
    order = await shop.order(1)
    assert (await wanting(shop, order, "GIFT", 1)).missing
    await shop.state("PO-1", 1, 9)
    await shop.receive("PO-1", 1)
    assert (await wanting(shop, order, "GIFT", 1)).missing
    await shop.clean()
    await stocked(shop.engine, {("B", "DC-A"): 1})
    answer = await wanting(shop, order, "GIFT", 1)
    assert (answer.taken, answer.missing) == ({"1/1": 1, "1/2": 1}, {})
    await shop.clean()


async def test_supply_stated_later_gives_a_date_to_who_waits(shop: Shop) -> None:
    await stocked(shop.engine, {("A", "DC-A"): 2})
    order = await shop.order(1)
    assert (await wanting(shop, order, "A", 3)).expected is None
    await shop.state("PO-1", 1, 9)
    assert await woken(shop) == {order}
    assert (await wanting(shop, order, "A", 3)).expected == day(9)


async def test_what_a_cart_holds_beyond_its_order_wakes_who_waits_for_it(shop: Shop) -> None:
    await stocked(shop.engine, {("A", "DC-A"): 3})
    await a_cart(shop, 3)
    order, other = await shop.order(1), await shop.order(2)
    assert (await wanting(shop, other, "A", 1)).missing
    async with transaction(shop.engine) as conn:
        told = {"status": OrderStatus.BACKORDERED, "short": {"A": 1}}
        await records.apply(conn, a_change(an_order("2"), 2, **told))
    assert not (await wanting(shop, order, "A", 2, CART)).missing
    assert await woken(shop) == {other}
    assert not (await wanting(shop, other, "A", 1)).missing
    await shop.clean()


async def test_who_gets_all_from_supply_lets_its_cart_go(shop: Shop) -> None:
    await stocked(shop.engine, {("A", "DC-A"): 2})
    await a_cart(shop, 2)
    order = await shop.order(1)
    assert (await wanting(shop, order, "A", 3, CART)).missing
    await shop.state("PO-1", 3, 9)
    await shop.receive("PO-1", 3)
    assert not (await wanting(shop, order, "A", 3, CART)).missing
    assert await of(shop.engine) == ("released", order, 0)
    assert await shop.free() == 2
    await shop.clean()


async def ruled(shop: Shop, *held_back: Rule) -> None:
    async with transaction(shop.engine) as conn:
        await stock_rules.put(conn, held_back, "test")


async def test_what_rules_hold_back_gives_nobody_a_date(shop: Shop) -> None:
    threshold = Rule(kind=RuleKind.THRESHOLD, channel="web", sku="A", units=10)
    await ruled(shop, threshold)
    await shop.state("PO-1", 12, 9)
    await shop.state("PO-2", 5, 19)
    first, second = await shop.order(1), await shop.order(2)
    assert (await shop.ask(first, 3)).expected == day(19)
    assert (await shop.ask(second, 5)).expected is None
    async with transaction(shop.engine) as conn:
        await stock_rules.put(conn, [], "test", removed=[threshold])
        await matching.rematch_ruled(conn, ["A"])
        query = select(backorders.c.order_id, backorders.c.expected_at)
        dates = {row.order_id: row.expected_at for row in await conn.execute(query)}
    assert dates == {first: day(9), second: day(9)}
    await shop.clean()


async def test_a_guarantee_to_another_channel_puts_the_date_off(shop: Shop) -> None:
    await ruled(shop, Rule(kind=RuleKind.GUARANTEE, channel="club", sku="A", units=8))
    await shop.state("PO-1", 10, 9)
    await shop.state("PO-2", 10, 19)
    order = await shop.order(1)
    assert (await shop.ask(order, 3)).expected == day(19)
    await shop.receive("PO-1", 10)
    assert await shop.free() == 8
    await shop.clean()


async def test_what_is_there_does_not_count_twice_for_who_waits_for_more(shop: Shop) -> None:
    await stocked(shop.engine, {("A", "DC-A"): 3})
    await ruled(shop, Rule(kind=RuleKind.SAFETY, node="DC-B", sku="A", units=5))
    await shop.state("PO-1", 7, 9, node="DC-B")  # of which two may be sold
    order = await shop.order(1)
    assert (await shop.ask(order, 7)).expected is None
    assert await shop.free() == 3
    await shop.clean()
