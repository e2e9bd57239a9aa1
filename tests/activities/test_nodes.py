"""What is asked of nodes, and what is not."""

from activities.house import House
from activities.nodes import Nodes
from domain.orders import Hold
from storage import network, records
from storage.database import transaction
from tests.connectors.outside import SECRET, World
from tests.samples import a_change, a_node, a_share, an_order


async def test_of_an_order_on_hold_no_request_leaves(house: House, world: World) -> None:
    order = an_order("held-before-dispatch")
    share = a_share(f"{order.order_id}-F1", "DC-DAL", {"1": 3}, order_id=order.order_id)
    held = Hold(handle="manual", reason="look first", owner="ann")
    placed = a_change(order, fulfillments=(share,), holds=(held,))
    async with transaction(house.engine) as conn:
        url = f"{world.url}/nodes/DC-DAL"
        await network.put_node(conn, a_node("DC-DAL", adapter="signed_http", url=url))
        sealed = house.keyring.seal(SECRET)
        await network.put_credential(conn, "node:DC-DAL", "secret", sealed)
        await records.accept(conn, order, "run", placed)
    nodes = Nodes(house.engine, house.nodes, house.keyring)

    answer = await nodes.dispatch(share.fulfillment_id)

    assert answer.held
    async with transaction(house.engine) as conn:
        assert not await records.submitted(conn, share.fulfillment_id)
        released = a_change(order, 2, fulfillments=(share,))
        await records.apply(conn, released.model_copy(update={"base": placed.key}))
    assert not (await nodes.dispatch(share.fulfillment_id)).held
