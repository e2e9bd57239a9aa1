"""Two who write of one order at once wait for each other, and neither is thrown out."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine

from domain.fulfillments import NodeEvent, NodeEventType
from domain.orders import Units
from storage import inbox, open_orders, records, reservations, stock
from storage.asks import Ask
from storage.database import transaction
from tests.samples import NOON, a_change, a_share, an_order


async def test_a_nodes_word_and_a_step_of_its_order_do_not_deadlock(world: AsyncEngine) -> None:
    order, share = an_order(), a_share("web-1-F1", "DC-A", {"1": 3})
    async with transaction(world) as conn:
        await records.accept(conn, order, "run", a_change(order, fulfillments=(share,)))

    async def step(seq: int) -> None:
        async with transaction(world) as conn:
            moved = share.model_copy(update={"reason": f"step {seq}"})
            await records.apply(conn, a_change(order, seq, fulfillments=(moved,)))

    async def hear(number: int) -> None:
        said = NodeEvent(
            event_id=f"e{number}",
            fulfillment_id="web-1-F1",
            node="DC-A",
            type=NodeEventType.ACCEPTED,
            occurred_at=NOON,
        )
        async with transaction(world) as conn:
            body = said.model_dump(mode="json")
            await inbox.put(conn, "node:DC-A", said.event_id, "node_event", body, order_id="web-1")

    for seq in range(2, 60):
        await asyncio.gather(step(seq), hear(seq))


async def test_the_first_goods_of_a_product_find_the_order_that_just_missed_them(
    world: AsyncEngine,
) -> None:
    order = an_order()
    async with transaction(world) as conn:
        await records.accept(conn, order, "run", a_change(order))
    looked = asyncio.Event()

    async def reserve() -> None:
        async with transaction(world) as conn:
            units = [Units(line_id="1", sku="A", quantity=3)]
            answer = await reservations.reserve(conn, Ask("web-1-R1", "web-1", units))
            assert answer.missing == {"A": 3}
            looked.set()
            await asyncio.sleep(0.3)
            await records.apply(conn, a_change(order, 2, short={"A": 3}))

    async def receive() -> list[str]:
        await looked.wait()
        async with transaction(world) as conn:
            await stock.receive(conn, "r1", "DC-A", [("A", 3)], "receipt", "test")
            return await open_orders.backordered_for(conn, ["A"])

    _, woken = await asyncio.gather(reserve(), receive())
    assert woken == ["web-1"]
