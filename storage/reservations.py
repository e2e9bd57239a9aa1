"""
Promises of units: made, moved, kept, taken back and run out, each done once however often it is
asked for.

Callers bring the transaction; `batching` makes many at once in its own. What is released before it
was made stays unmade: a release leaves a tombstone, and a late attempt is refused.
"""

from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Conflict, Refused
from domain.fulfillments import LineQuantity
from domain.orders import Units
from domain.orders import reservation_id as id_of
from storage import availability, claims, ledger, taking
from storage.asks import Answer, Ask
from storage.claims import Reservation
from storage.ledger import SYSTEM, Entry, Why

_TRIES: Final = 3


async def reserve(conn: AsyncConnection, ask: Ask) -> Answer:
    """
    Take units: all or none, or what there is where the ask may be met in part.

    A short attempt that takes nothing leaves nothing and may be made again; what was made before
    stays as it is, and is answered as it was then. Raises Conflict(reservation_released,
    reservation_expired, reservation_fulfilled, reservation_differs), NotFound(node), Invalid.
    """
    for attempt in range(_TRIES):
        try:
            async with conn.begin_nested():
                [answer] = await taking.look(conn, [ask])
        except IntegrityError:  # another session made it at this moment
            if attempt == _TRIES - 1:
                raise
            continue
        break
    if isinstance(answer, Refused):
        raise answer
    return answer


async def confirm(conn: AsyncConnection, reservation_id: str, order_id: str) -> None:
    """
    It is an order's now, and does not run out any more. Raises as `claims.held` does, and
    Conflict(reservation_used) where it is another order's.

    Units that are still held are the order's, even where their time is over.
    """
    held = claims.held(await claims.lock_reservation(conn, reservation_id), reservation_id)
    if held.order_id not in {None, order_id}:
        message = f"{reservation_id} is order {held.order_id}'s"
        raise Conflict(message, code="reservation_used")
    await claims.set_reservations(
        conn, [reservation_id], state="committed", expires_at=None, order_id=order_id
    )


async def transfer(
    conn: AsyncConnection, key: str, reservation_id: str, node: str | None, actor: str = SYSTEM
) -> dict[str, int]:
    """
    Move what it holds to a node, or with None back to the network: nobody ever sees it free.

    A node's safety stock stays there. Answers what is missing there by SKU, and then has moved
    nothing; empty is done. Raises as `claims.held` does, and NotFound(node).
    """
    reservation = await claims.lock_reservation(conn, reservation_id)
    if await ledger.was_done(conn, "transfer", key):
        return {}
    held = claims.held(reservation, reservation_id)
    units = claims.by_sku(await _lines(conn, reservation_id))
    ends = {end for end in (held.node, node) if end is not None}
    places = await ledger.lock_nodes(conn, ends)
    pool = await ledger.lock_pool(conn, units)
    shelves = await ledger.lock_stock(conn, {(sku, end) for sku in units for end in ends})
    there = dict(units)
    if node is not None and node != held.node:
        spare = await availability.beyond_safety(conn, shelves) if places[node].online else {}
        there = {sku: max(spare.get((sku, node), 0), 0) for sku in units}
    if held.node is not None and node != held.node and not places[held.node].online:
        sale = await availability.open_sale(conn, pool)  # what it held there was on no sale
        there = {sku: min(there[sku], sale.left(sku, held.channel)) for sku in units}
    missing = {sku: units[sku] - there[sku] for sku in units if units[sku] > there[sku]}
    if missing:
        return missing
    await ledger.first_time(conn, "transfer", key)
    await claims.set_reservations(conn, [reservation_id], node=node)
    left = {sku: -quantity for sku, quantity in units.items()}
    entries = ledger.promised(left, held.node) + ledger.promised(units, node)
    why = Why(f"transferred to {node or 'the network'}", actor, key, held.order_id)
    await ledger.post(conn, entries if held.node != node else [], places, why)
    return {}


async def fulfill(
    conn: AsyncConnection,
    key: str,
    reservation_id: str,
    lines: Sequence[LineQuantity] = (),
    actor: str = SYSTEM,
) -> None:
    """
    Its units left the node that it is at. No lines means all of them.

    Raises Conflict(not_at_node) where it is the network's, Conflict(not_reserved) where it holds
    fewer, and as `claims.held` does.
    """
    reservation = await claims.lock_reservation(conn, reservation_id)
    if await ledger.was_done(conn, "fulfill", key):
        return
    held = claims.held(reservation, reservation_id)
    node = held.node
    if node is None:
        raise Conflict(f"{reservation_id} is at no node yet; transfer it", code="not_at_node")
    there = await _lines(conn, reservation_id)
    gone = claims.part(reservation_id, there, lines, code="not_reserved")
    units = claims.by_sku(gone)
    places = await ledger.lock_nodes(conn, [node])
    await ledger.lock_stock(conn, {(sku, node) for sku in units})
    await ledger.first_time(conn, "fulfill", key)
    await claims.add_units(conn, reservation_id, {line.line_id: -line.quantity for line in gone})
    if claims.by_sku(there) == units:
        await claims.set_reservations(conn, [reservation_id], state="fulfilled", expires_at=None)
    entries = [Entry(sku, node, on_hand=-n, allocated=-n) for sku, n in units.items()]
    await ledger.post(conn, entries, places, Why("fulfilled", actor, key, held.order_id))


async def release(
    conn: AsyncConnection, reservation_id: str, cause: str, actor: str = SYSTEM
) -> None:
    """Give back what is still reserved, and let no late attempt take it again."""
    reservation = await claims.lock_or_bury(conn, reservation_id)
    if reservation is not None:
        await _end(conn, [reservation], "released", cause, actor)


async def let_go(conn: AsyncConnection, order_id: str) -> set[str]:
    """
    An order ended that had a reservation of its channel's confirmed for it, and never took it over:
    its units are free. Answers their SKUs.
    """
    query = text("SELECT channel, body ->> 'reservation' AS key FROM orders WHERE order_id = :id")
    row = (await conn.execute(query, {"id": order_id})).first()
    if row is None or not row.key:
        return set()
    name = id_of(row.channel, row.key)
    reservation = await claims.lock_reservation(conn, name)
    if reservation is None or not reservation.open or reservation.order_id != order_id:
        return set()
    freed = await claims.skus_of(conn, [name])
    await _end(conn, [reservation], "released", "its order ended", SYSTEM)
    return freed


async def expire(conn: AsyncConnection, limit: int = 100) -> tuple[str, ...]:
    """
    Give back what is held of up to `limit` reservations whose time is over; answers which.

    Several sessions may do so at once: each takes others.
    """
    ended = await claims.lock_expired(conn, limit)
    await _end(conn, ended, "expired", "expired", SYSTEM)
    return tuple(reservation.reservation_id for reservation in ended)


async def _end(
    conn: AsyncConnection, ended: Collection[Reservation], state: str, cause: str, actor: str
) -> None:
    if not ended:
        return
    ids = [reservation.reservation_id for reservation in ended]
    lines = await claims.reserved_lines(conn, ids)
    await claims.set_reservations(conn, ids, state=state)
    await claims.empty_reservations(conn, ids)
    told = []
    for reservation in ended:
        units = claims.by_sku(lines.get(reservation.reservation_id, ()))
        returned = {sku: -quantity for sku, quantity in units.items()}
        why = Why(cause, actor, reservation.reservation_id, reservation.order_id)
        told += [(entry, why) for entry in ledger.promised(returned, reservation.node)]
    at_nodes = {(entry.sku, entry.node) for entry, _ in told if entry.node is not None}
    places = await ledger.lock_nodes(conn, {node for _, node in at_nodes})
    await ledger.lock_pool(conn, {entry.sku for entry, _ in told})
    await ledger.lock_stock(conn, at_nodes)
    await ledger.post_all(conn, told, places)


async def _lines(conn: AsyncConnection, reservation_id: str) -> tuple[Units, ...]:
    return (await claims.reserved_lines(conn, [reservation_id])).get(reservation_id, ())
