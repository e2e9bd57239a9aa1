"""
Units at nodes: every verb that moves them, each done once however often it is called.

Callers bring the transaction. What is given back before it was allocated stays unallocated: a
give-back leaves a tombstone, and a late attempt is refused. Promises are made in `reservations`.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal

from sqlalchemy import insert, select, text, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Conflict, Invalid, NotFound, Refused
from domain.fulfillments import Fulfillment, LineQuantity
from domain.sourcing.terms import Terms
from domain.values import Value
from storage import availability, capacity, claims, kits, ledger, open_orders, supplies
from storage.capacity import Load
from storage.ledger import SYSTEM, Entry, Why
from storage.tables import node_log, nodes, pool, stock

_NO_TERMS: Final[Mapping[str, Terms]] = {}


class Level(Value):
    """A SKU at a node. What is on hand and not allocated is free; `short` of it are not there."""

    sku: str
    node: str
    on_hand: int
    allocated: int
    free: int
    short: int = 0


async def allocate(
    conn: AsyncConnection,
    key: str,
    reservation_id: str,
    fulfillments: Sequence[Fulfillment],
    terms: Mapping[str, Terms] = _NO_TERMS,
) -> dict[str, str]:
    """
    Move reserved units to the nodes of these fulfillments, and hold capacity of the nodes' today.

    Answers the nodes that cannot, with the reason (offline, out of stock, no capacity, or that it
    would not be on the `terms` of the decision), and then has moved nothing; empty is done. What
    was reserved at a node (pickup) is there already and takes no capacity. That the orders are open
    is to be recorded in the same transaction: the next ones are counted with them.
    Raises Refused(reservation_released, allocation_released), Conflict(not_reserved).
    """
    reservation = await claims.lock_reservation(conn, reservation_id)
    if await ledger.was_done(conn, "allocate", key):
        return {}
    held = claims.held(reservation, reservation_id)
    skus = await claims.reserved_skus(conn, held, fulfillments)
    places = await ledger.lock_nodes(conn, {f.node for f in fulfillments})
    dry = {code: "offline" for code, node in places.items() if not node.online}
    moved: Counter[tuple[str, str]] = Counter()
    load: dict[str, Load] = {}
    if held.node is None:
        for f in fulfillments:
            units = sum(lq.quantity for lq in f.lines)
            load[f.node] = load.get(f.node, Load(0, 0)).plus(units)
            for lq in f.lines:  # two lines may be of one SKU
                moved[skus[lq.line_id], f.node] += lq.quantity
        dry = await _dry(conn, moved, load, terms) | dry
    dry = dict.fromkeys(await _crowded(conn, places, terms), "too many open orders") | dry
    if dry:
        return dry
    await ledger.first_time(conn, "allocate", key)
    days = {node: places[node].today for node in load}
    await claims.take_from_reservation(conn, reservation_id, fulfillments)
    await claims.open_allocations(conn, fulfillments, skus, days, held.channel)
    await capacity.take(conn, load)
    entries = [Entry(sku, node, allocated=units) for (sku, node), units in moved.items()]
    entries += [Entry(sku, None, reserved=-units) for (sku, _), units in moved.items()]
    why = Why("allocated", SYSTEM, key, fulfillments[0].order_id)
    await ledger.post(conn, entries, places, why)
    return {}


async def give_back(  # noqa: PLR0913, PLR0917 - what the port's request carries
    conn: AsyncConnection,
    key: str,
    fulfillment_id: str,
    lines: Sequence[LineQuantity],
    to: Literal["reservation", "free"],
    reservation_id: str,
    cause: str,
) -> None:
    """
    Take units back from a node: to the reservation, or free for all. No lines means all of them.

    Where the reservation was released, or is at another node, they become free. The node's capacity
    comes back unit by unit, and the place with the last one, if nothing shipped.
    Raises Conflict(not_allocated).
    """
    if not await ledger.first_time(conn, "give_back", key):
        return
    reservation = await claims.lock_reservation(conn, reservation_id)
    allocation = await claims.lock_allocation(conn, fulfillment_id)
    if allocation is None:
        return
    back = allocation.take(lines)
    node = allocation.node
    places = await ledger.lock_nodes(conn, [node])
    skus = claims.by_sku(back)
    await ledger.lock_pool(conn, skus)
    await ledger.lock_stock(conn, {(sku, node) for sku in skus})
    await claims.take_from_allocation(conn, fulfillment_id, back, into="returned")
    await capacity.release(conn, allocation, back)
    entries = [Entry(sku, node, allocated=-units) for sku, units in skus.items()]
    if to == "reservation" and reservation is not None and reservation.takes(node):
        await claims.add_to_reservation(conn, reservation_id, back)
        entries += ledger.promised(skus, reservation.node)
    await ledger.post(conn, entries, places, Why(cause, SYSTEM, key, allocation.order_id))


async def ship(
    conn: AsyncConnection, key: str, fulfillment_id: str, lines: Sequence[LineQuantity]
) -> None:
    """The units left the node. No lines means all that is left. Raises Conflict(not_allocated)."""
    if not await ledger.first_time(conn, "ship", key):
        return
    allocation = await claims.lock_allocation(conn, fulfillment_id)
    if allocation is None:
        raise Conflict(f"{fulfillment_id} has no units to ship", code="not_allocated")
    gone = allocation.take(lines)
    node = allocation.node
    places = await ledger.lock_nodes(conn, [node])
    skus = claims.by_sku(gone)
    await ledger.lock_stock(conn, {(sku, node) for sku in skus})
    await claims.take_from_allocation(conn, fulfillment_id, gone, into="shipped")
    await capacity.confirm(conn, [fulfillment_id])
    entries = [Entry(sku, node, on_hand=-units, allocated=-units) for sku, units in skus.items()]
    await ledger.post(conn, entries, places, Why("shipped", SYSTEM, key, allocation.order_id))


async def receive(  # noqa: PLR0913, PLR0917 - what the port's request carries
    conn: AsyncConnection,
    key: str,
    node: str,
    lines: Sequence[tuple[str, int]],
    cause: str,
    actor: str,
    supply: tuple[str, str] | None = None,
) -> bool:
    """
    Units came in, perhaps of a named supply (source, ref): then those who claim it get them first.

    False where the key was seen before. Raises NotFound(node, supply), Invalid.
    """
    if bad := [sku for sku, quantity in lines if quantity < 1]:
        raise Invalid(f"lines: a receipt of {bad[0]} must be of 1 unit or more")
    if not await ledger.first_time(conn, "receive", f"{node}:{key}"):
        return False
    units: Counter[str] = Counter()
    for sku, quantity in lines:
        units[sku] += quantity
    places = await ledger.lock_nodes(conn, [node])
    await ledger.open_shelves(conn, {(sku, node) for sku in units})
    await kits.refuse(conn, units)
    if supply is not None:
        await supplies.check(conn, *supply, node, lines)
    entries = [Entry(sku, node, on_hand=quantity) for sku, quantity in units.items()]
    await ledger.post(conn, entries, places, Why(cause, actor, key))
    if supply is not None:
        await supplies.came(conn, *supply, node, lines)
    return True


async def count(
    conn: AsyncConnection, key: str, node: str, lines: Sequence[tuple[str, int]], actor: str
) -> bool:
    """
    What was counted is what is on hand. False where the key was seen before.

    Raises Refused(below_allocated) where fewer were found than are allocated, NotFound(node),
    Invalid.
    """
    found = dict(lines)
    if bad := [sku for sku, quantity in lines if quantity < 0 or found[sku] != quantity]:
        raise Invalid(f"lines: the count of {bad[0]} must be one number of 0 or more")
    if not await ledger.first_time(conn, "count", f"{node}:{key}"):
        return False
    places = await ledger.lock_nodes(conn, [node])
    shelves = await ledger.open_shelves(conn, {(sku, node) for sku in found})
    await kits.refuse(conn, found)
    for (sku, _), shelf in sorted(shelves.items()):
        if found[sku] < shelf.allocated:
            raise Refused(
                f"{sku}: {found[sku]} were counted but {shelf.allocated} are allocated to orders;"
                " give those back first",
                code="below_allocated",
            )
    entries = [
        Entry(sku, node, on_hand=found[sku] - shelf.there) for (sku, _), shelf in shelves.items()
    ]
    why = Why("counted", actor, key, stated_by="count")
    await ledger.post(conn, entries, places, why)
    await ledger.counted(conn, dict.fromkeys(shelves), "count")
    return True


async def set_node_status(
    conn: AsyncConnection,
    node: str,
    status: Literal["online", "offline"],
    actor: str,
    reason: str = "",
) -> bool:
    """Take a node's free units off sale, or put them on again. True if that changed it."""
    locked = select(nodes.c.status).where(nodes.c.code == node).with_for_update(key_share=True)
    before = (await conn.execute(locked)).scalar()
    if before is None:
        raise NotFound(f"no node {node}")
    if before == status:
        return False
    await conn.execute(
        update(nodes).where(nodes.c.code == node).values(status=status, updated_at=text("now()"))
    )
    entry = {"node": node, "status": status, "actor": actor, "reason": reason}
    await conn.execute(insert(node_log), entry)
    free = stock.c.on_hand - stock.c.allocated
    stocked = select(stock.c.sku).where(stock.c.node == node, free != 0).scalar_subquery()
    await conn.execute(
        select(pool.c.sku).where(pool.c.sku.in_(stocked)).order_by(pool.c.sku).with_for_update()
    )
    sign = 1 if status == "online" else -1
    await conn.execute(
        update(pool)
        .where(pool.c.sku == stock.c.sku, stock.c.node == node, free != 0)
        .values(available=pool.c.available + sign * free)
    )
    return True


async def available(conn: AsyncConnection, skus: Collection[str]) -> dict[str, int]:
    """
    What is free at online nodes and not promised, never below zero; zero for what is not known.

    What a channel may have of it is less: see `domain.availability`.
    """
    return {sku: max(units, 0) for sku, units in (await balance(conn, skus)).items()}


async def balance(conn: AsyncConnection, skus: Collection[str]) -> dict[str, int]:
    """The same, and how many units were promised that are not there any more: then below zero."""
    rows = await conn.execute(select(pool).where(pool.c.sku.in_(skus)))
    return dict.fromkeys(skus, 0) | {row.sku: row.available for row in rows}


async def skus_at(conn: AsyncConnection, node: str) -> list[str]:
    """The SKUs of which the node has free units."""
    query = select(stock.c.sku).where(stock.c.node == node, stock.c.on_hand > stock.c.allocated)
    return list((await conn.execute(query.order_by(stock.c.sku))).scalars())


async def levels(
    conn: AsyncConnection,
    *,
    skus: Collection[str] | None = None,
    node: str | None = None,
    after: tuple[str, str] | None = None,
    limit: int = 100,
) -> tuple[Level, ...]:
    """Shelves by SKU and node; `after` is the (sku, node) that the page before ended with."""
    query = select(stock, (stock.c.on_hand - stock.c.allocated).label("free"))
    if skus is not None:
        query = query.where(stock.c.sku.in_(skus))
    if node is not None:
        query = query.where(stock.c.node == node)
    if after is not None:
        query = query.where(tuple_(stock.c.sku, stock.c.node) > tuple_(*after))
    rows = await conn.execute(query.order_by(stock.c.sku, stock.c.node).limit(limit))
    return tuple(Level.model_validate(dict(row)) for row in rows.mappings())


async def _dry(
    conn: AsyncConnection,
    moved: Mapping[tuple[str, str], int],
    load: Mapping[str, Load],
    terms: Mapping[str, Terms],
) -> dict[str, str]:
    shelves = await ledger.lock_stock(conn, moved)
    dry = dict.fromkeys(await capacity.full(conn, load), "no capacity")
    spare = await availability.beyond_safety(conn, shelves)
    for (sku, node), units in moved.items():
        left = spare.get((sku, node), 0) - units
        if left < 0:
            dry[node] = "out of stock"
        elif node in terms and left < terms[node].least.get(sku, 0):
            dry.setdefault(node, "its last units stay there")
    return dry


async def _crowded(
    conn: AsyncConnection, asked: Collection[str], terms: Mapping[str, Terms]
) -> set[str]:
    most = {node: terms[node].most_orders for node in asked if node in terms}
    return await open_orders.crowded(conn, {n: m for n, m in most.items() if m is not None})
