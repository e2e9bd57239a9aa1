"""
Every movement of units is posted here, so that the sums, the shelves and the pool stay one truth.

Rows are locked in one order everywhere: reservation, allocation, nodes, pool by SKU, stock by SKU
and node, capacity, the order's record. A new reservation alone is written after its pool: nobody
who holds it waits for more. A free unit is one on hand and not allocated; the pool of a SKU is its
free units at online nodes less its open network reservations: what a posting does to it follows.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from typing import Final, NamedTuple

from sqlalchemy import insert, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from storage.tables import movements, operations


class Entry(NamedTuple):
    """What happens to a SKU at a node, or, with node None, to the network's promises of it."""

    sku: str
    node: str | None
    on_hand: int = 0
    allocated: int = 0
    reserved: int = 0


SYSTEM: Final = "crossdock"


class Why(NamedTuple):
    cause: str
    actor: str
    key: str
    order_id: str | None = None


class NodeNow(NamedTuple):
    """`today` is the date at the node's place."""

    online: bool
    today: date
    capacity_per_day: int | None


class Shelf(NamedTuple):
    on_hand: int
    allocated: int

    @property
    def free(self) -> int:
        return self.on_hand - self.allocated


Shelves = Mapping[tuple[str, str], Shelf]


async def first_time(conn: AsyncConnection, kind: str, key: str) -> bool:
    """True once for each kind and key; whoever comes second waits for the first to end."""
    statement = upsert(operations).values(kind=kind, key=key).on_conflict_do_nothing()
    return (await conn.execute(statement.returning(operations.c.key))).first() is not None


async def was_done(conn: AsyncConnection, kind: str, key: str) -> bool:
    query = select(operations.c.key).where(operations.c.kind == kind, operations.c.key == key)
    return (await conn.execute(query)).first() is not None


async def lock_nodes(conn: AsyncConnection, codes: Collection[str]) -> dict[str, NodeNow]:
    """Keeps the nodes from going up or down until the transaction ends. Raises NotFound."""
    if not codes:
        return {}
    rows = await conn.execute(
        text(
            "SELECT code, status = 'online' AS online, capacity_per_day,"
            " (now() AT TIME ZONE timezone)::date AS today FROM nodes"
            " WHERE code = ANY(:codes) ORDER BY code FOR SHARE"
        ),
        {"codes": sorted(set(codes))},
    )
    found = {row.code: NodeNow(row.online, row.today, row.capacity_per_day) for row in rows}
    if unknown := sorted(set(codes) - found.keys()):
        raise NotFound(f"no node {unknown[0]}")
    return found


async def lock_pool(conn: AsyncConnection, skus: Collection[str]) -> dict[str, int]:
    """What is available to sell of each SKU that was ever stocked."""
    if not skus:
        return {}
    rows = await conn.execute(
        text("SELECT sku, available FROM pool WHERE sku = ANY(:skus) ORDER BY sku FOR UPDATE"),
        {"skus": list(set(skus))},
    )
    return {row.sku: row.available for row in rows}


async def open_pool(conn: AsyncConnection, skus: Collection[str]) -> dict[str, int]:
    """
    The same of SKUs that perhaps never were: who is short of one, and the first goods that come in,
    wait for each other, so that whoever then wakes the orders that wait sees this one.
    """
    await conn.execute(
        text(
            "INSERT INTO pool (sku) SELECT sku FROM unnest(CAST(:skus AS text[])) AS sku"
            " ORDER BY sku ON CONFLICT DO NOTHING"
        ),
        {"skus": sorted(set(skus))},
    )
    return await lock_pool(conn, skus)


async def hold_pool(conn: AsyncConnection, skus: Collection[str] | None) -> None:
    """
    Have whoever reserves these SKUs, None is all, end first or begin after this transaction.

    For a change of what rules hold back, see `stock_rules.put`.
    """
    if skus is None:
        await conn.execute(text("LOCK TABLE pool IN EXCLUSIVE MODE"))
    else:
        await lock_pool(conn, skus)


async def lock_stock(conn: AsyncConnection, places: Collection[tuple[str, str]]) -> Shelves:
    """The shelves of these (SKU, node) pairs, of those that there are."""
    if not places:
        return {}
    rows = await conn.execute(
        text(
            "SELECT sku, node, on_hand, allocated FROM stock WHERE (sku, node) IN"
            " (SELECT * FROM unnest(CAST(:skus AS text[]), CAST(:nodes AS text[])))"
            " ORDER BY sku, node FOR UPDATE"
        ),
        _columns(places),
    )
    return {(row.sku, row.node): Shelf(row.on_hand, row.allocated) for row in rows}


async def open_shelves(conn: AsyncConnection, node: str, skus: Collection[str]) -> Shelves:
    """Locks pool and stock of these SKUs at a node, and makes the rows that are missing."""
    await open_pool(conn, skus)
    wanted = {"skus": sorted(set(skus)), "node": node}
    await conn.execute(
        text(
            "INSERT INTO stock (sku, node) SELECT sku, :node"
            " FROM unnest(CAST(:skus AS text[])) AS sku ORDER BY sku ON CONFLICT DO NOTHING"
        ),
        wanted,
    )
    return await lock_stock(conn, {(sku, node) for sku in skus})


async def post(
    conn: AsyncConnection, entries: Iterable[Entry], nodes: Mapping[str, NodeNow], why: Why
) -> None:
    """Moves the units. The caller has locked the rows, and seen that none goes below zero."""
    await post_all(conn, [(entry, why) for entry in entries], nodes)


async def post_all(
    conn: AsyncConnection, told: Iterable[tuple[Entry, Why]], nodes: Mapping[str, NodeNow]
) -> None:
    """The same for units that move for different reasons."""
    moved = [(e, why) for e, why in told if e.on_hand or e.allocated or e.reserved]
    if not moved:
        return
    pool: Counter[str] = Counter()
    for entry, _ in moved:
        online = entry.node is not None and nodes[entry.node].online
        pool[entry.sku] += (entry.on_hand - entry.allocated) * online - entry.reserved
    await _add_to_pool(conn, {sku: delta for sku, delta in pool.items() if delta})
    await _add_to_stock(conn, [entry for entry, _ in moved if entry.node is not None])
    await conn.execute(
        insert(movements),
        [
            {
                "sku": entry.sku,
                "node": entry.node,
                "on_hand_delta": entry.on_hand,
                "allocated_delta": entry.allocated,
                "reserved_delta": entry.reserved,
                **why._asdict(),
            }
            for entry, why in moved
        ],
    )


def promised(units: Mapping[str, int], node: str | None) -> list[Entry]:
    """A reservation's units as the ledger books them: the network's promise, or a place's units."""
    if node is None:
        return [Entry(sku, None, reserved=quantity) for sku, quantity in units.items()]
    return [Entry(sku, node, allocated=quantity) for sku, quantity in units.items()]


async def _add_to_pool(conn: AsyncConnection, deltas: Mapping[str, int]) -> None:
    if deltas:
        await conn.execute(
            text(
                "UPDATE pool SET available = available + delta FROM"
                " unnest(CAST(:skus AS text[]), CAST(:deltas AS integer[])) AS d (sku, delta)"
                " WHERE pool.sku = d.sku"
            ),
            {"skus": list(deltas), "deltas": list(deltas.values())},
        )


async def _add_to_stock(conn: AsyncConnection, entries: Sequence[Entry]) -> None:
    on_hand: Counter[tuple[str, str]] = Counter()
    allocated: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        place = (entry.sku, entry.node or "")
        on_hand[place] += entry.on_hand
        allocated[place] += entry.allocated
    if on_hand:
        await conn.execute(
            text(
                "UPDATE stock SET on_hand = on_hand + d_on_hand,"
                " allocated = allocated + d_allocated FROM"
                " unnest(CAST(:skus AS text[]), CAST(:nodes AS text[]),"
                " CAST(:on_hand AS integer[]), CAST(:allocated AS integer[]))"
                " AS d (sku, node, d_on_hand, d_allocated)"
                " WHERE stock.sku = d.sku AND stock.node = d.node"
            ),
            {
                **_columns(on_hand),
                "on_hand": list(on_hand.values()),
                "allocated": [allocated[place] for place in on_hand],
            },
        )


def _columns(places: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    pairs = list(places)
    return {"skus": [sku for sku, _ in pairs], "nodes": [node for _, node in pairs]}
