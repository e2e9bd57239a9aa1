"""The network as it is set up, the keys to it, and what a sourcing decision sees of it."""

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.errors import Conflict, NotFound
from domain.network import Product, RateCard, Zone
from domain.sourcing.problem import Decision, Plan
from storage import access, decisions, network, snapshot, stock
from storage.database import transaction
from storage.network import Channel
from tests.samples import a_node, a_problem
from tests.storage.conftest import NODES, stocked

GROUND = RateCard(
    service="ground",
    carrier="ups",
    zones=(Zone(max_miles=300, base_minor=750, per_lb_minor=18, transit_days=1),),
)


async def test_a_known_node_keeps_its_status(world: AsyncEngine) -> None:
    async with transaction(world) as conn:
        await stock.set_node_status(conn, "DC-A", "offline", "ops")
        await network.put_node(conn, a_node("DC-A", name="New name"))
        node = await network.node(conn, "DC-A")
        assert node is not None
        assert (node.name, node.status) == ("New name", "offline")
        assert [node.code for node in await network.nodes(conn)] == list(NODES)
        assert await network.node(conn, "NOWHERE") is None
        with pytest.raises(NotFound):
            await stock.set_node_status(conn, "NOWHERE", "offline", "ops")


async def test_names_mean_the_first_product_they_know(conn: AsyncConnection) -> None:
    await network.put_products(
        conn,
        [
            Product(sku="A", aliases=("v1", "C")),
            Product(sku="B", aliases=("v2",)),
            Product(sku="C"),
        ],
    )
    names = [["A"], ["v2"], ["", "zzz", "v1"], [], ["nope"], ["C"], ["v2", "A"]]
    found = await network.resolve_skus(conn, names)
    assert found == ["A", "B", "A", None, None, "C", "B"]
    await network.put_products(conn, [Product(sku="A", title="Shoe", aliases=("v3",))])
    assert await network.resolve_skus(conn, [["v1"], ["v3"]]) == [None, "A"]
    product = await network.product(conn, "A")
    assert product is not None
    assert product.title == "Shoe"
    with pytest.raises(Conflict) as conflict:
        await network.put_products(conn, [Product(sku="D", aliases=("v2",))])
    assert conflict.value.code == "alias_taken"


async def test_channels_keep_their_cursor_and_secrets_stay_sealed(conn: AsyncConnection) -> None:
    channel = Channel(code="outlet", kind="magento", url="http://x", settings={"store": 1})
    await network.put_channel(conn, channel)
    await network.set_cursor(conn, "outlet", "2026-11-20")
    await network.put_channel(conn, channel)
    assert await network.cursor(conn, "outlet") == "2026-11-20"
    assert await network.channel(conn, "outlet") == channel
    assert await network.channels(conn) == (channel,)
    assert await network.channel(conn, "none") is None
    with pytest.raises(NotFound):
        await network.set_cursor(conn, "none", "x")
    await network.put_credential(conn, "node:DC-A", "secret", "k1:old")
    await network.put_credential(conn, "node:DC-A", "secret", "k1:new")
    assert await network.credential(conn, "node:DC-A", "secret") == "k1:new"
    assert await network.credential(conn, "node:DC-A", "other") is None


async def test_a_decision_sees_one_moment_of_the_network(world: AsyncEngine) -> None:
    await stocked(world, {("A", "DC-A"): 3, ("B", "DC-A"): 1, ("A", "DC-B"): 2, ("Z", "DC-B"): 9})
    async with transaction(world) as conn:
        await network.put_rate_cards(conn, [GROUND])
        await network.put_products(conn, [Product(sku="A", weight_g=900)])
        await network.put_node(conn, a_node("DC-B", capacity_per_day=4))
        await stock.set_node_status(conn, "ST-C", "offline", "ops")
        seen = await snapshot.sourcing(conn, ["A", "B", "unknown"])
    assert {node.code: node.status for node in seen.nodes} == {
        "DC-A": "online", "DC-B": "online", "ST-C": "offline",
    }  # fmt: skip
    assert seen.stock == {"DC-A": {"A": 3, "B": 1}, "DC-B": {"A": 2}}
    assert seen.capacity_left == {"DC-B": 4}
    assert seen.rate_cards == (GROUND,)
    assert seen.products["A"].weight_g == 900
    assert seen.as_of.tzinfo is not None


async def test_a_decision_is_never_changed(conn: AsyncConnection) -> None:
    decision = Decision(
        decision_id="D1", problem=a_problem(), plan=Plan(assignments=()), solver="cp-sat"
    )
    assert await decisions.store(conn, decision) == decision
    other = decision.model_copy(update={"decision_id": "D2", "solver": "other"})
    assert await decisions.store(conn, other) == decision
    assert await decisions.get(conn, "web-1", 1) == decision
    assert await decisions.get(conn, "web-1", 2) is None
    assert await decisions.of_order(conn, "web-1") == (decision,)


async def test_a_key_opens_what_it_was_made_for_until_it_is_revoked(conn: AsyncConnection) -> None:
    token = await access.create(conn, "3pl", ["events:write"], nodes=["DC-A"])
    assert token.startswith("cd_")
    key = await access.authenticate(conn, token)
    assert key is not None
    assert (key.name, key.scopes, key.channels, key.nodes) == (
        "3pl", ("events:write",), None, ("DC-A",),
    )  # fmt: skip
    assert await access.by_id(conn, key.key_id) == key
    for wrong in ("", "cd", "cd__", token[:-1], token + "x", f"cd_{key.key_id}_", "xx" + token):
        assert await access.authenticate(conn, wrong) is None
    assert await access.revoke(conn, key.key_id)
    assert not await access.revoke(conn, key.key_id)
    assert await access.authenticate(conn, token) is None
    assert await access.by_id(conn, key.key_id) is None
    (listed,) = await access.list_keys(conn)
    assert listed.revoked_at is not None
    assert token.rpartition("_")[2] not in listed.model_dump_json()
