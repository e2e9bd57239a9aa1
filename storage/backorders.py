"""
Orders that wait: how they join the line and leave it, and how what comes becomes theirs.

Whoever is short joins the line, and is told a date once named supply covers all of what is missing
(see `matching`); then also what is there already is kept for it. What came for an order is held by
the reservation that it asks for, which is the order's only once the order takes it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import delete, select, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Refused
from domain.values import Value
from storage import availability, claims, inbox, ledger, matching
from storage.asks import Answer, Ask
from storage.carts import Cart, Carts
from storage.ledger import SYSTEM, Why
from storage.room import Room
from storage.tables import (
    backorder_lines,
    backorders,
    reservation_lines,
    reservations,
    supplies,
    supply_claims,
)


class Awaited(Value):
    """Units that an order waits for by name, and when they are expected."""

    line_id: str
    sku: str
    source: str
    ref: str
    units: int
    expected_at: datetime


class _Claimant(NamedTuple):
    order_id: str
    line_id: str
    sku: str
    reservation_id: str
    channel: str
    node: str | None
    units: int


async def settle(
    conn: AsyncConnection, asks: Sequence[Ask], answers: Sequence[Answer | Refused]
) -> list[Answer | Refused]:
    """
    The answers once those who wait have joined the line, or left it with all they want.

    The rows that `taking.look` locks are locked.
    """
    settled = list(answers)
    ours = [ask.order_id for ask in asks if ask.waits]
    query = select(backorders.c.order_id).where(backorders.c.order_id.in_(ours))
    known = set((await conn.execute(query)).scalars()) if ours else set()
    for number, ask in enumerate(asks):
        answer = settled[number]
        if ask.order_id is None or not ask.waits or isinstance(answer, Refused):
            continue
        if answer.missing:
            settled[number] = await _joined(conn, ask, answer)
        elif ask.order_id in known:
            cart = await _given(conn, ask, *await _cart(conn, ask))
            settled[number] = answer._replace(cart=cart or answer.cart)
            await _taken(conn, ask)
    for ask, answer in zip(asks, settled, strict=True):
        if not isinstance(answer, Refused) and answer.cart is not None:
            await _beyond(conn, ask, answer.cart)
    return settled


async def leave(conn: AsyncConnection, order_id: str) -> set[str]:
    """
    The order waits no more: what it claimed is the next one's, what came for it is free. Answers
    the SKUs of which there is more for others.
    """
    query = select(backorders).where(backorders.c.order_id == order_id)
    waiting = (await conn.execute(query)).first()
    if waiting is None:
        return set()
    name, node = waiting.reservation_id, waiting.node
    places = await ledger.lock_nodes(conn, [node] if node else [])
    lines = select(backorder_lines.c.sku).where(backorder_lines.c.order_id == order_id)
    skus = set((await conn.execute(lines)).scalars())
    await ledger.lock_pool(conn, skus)
    if await _open(conn, name):
        held = (await claims.reserved_lines(conn, [name])).get(name, ())
        await claims.set_reservations(conn, [name], state="released")
        await claims.empty_reservations(conn, [name])
        units = claims.by_sku(held)
        await ledger.lock_stock(conn, {(sku, node) for sku in units if node})
        back = ledger.promised({sku: -n for sku, n in units.items()}, node)
        await ledger.post(conn, back, places, Why("waits no more", SYSTEM, name, order_id))
    await conn.execute(delete(backorders).where(backorders.c.order_id == order_id))
    await matching.rematch(conn, skus, "one before it waits no more")
    return skus


async def came(  # noqa: PLR0913, PLR0917 - what came, and of which supply
    conn: AsyncConnection, source: str, ref: str, sku: str, node: str, units: int
) -> None:
    """
    Hand units that have just been received of a supply to those who claim them, as far as they may
    be sold to them. Shelves and pool are locked, and the units are on hand.
    """
    pool = await ledger.lock_pool(conn, [sku])
    sale = await availability.open_sale(conn, pool, pickups=[sku])
    for claimant in await _claimants(conn, source, ref):
        left = sale.left(sku, claimant.channel, claimant.node)
        taken = min(claimant.units, units, left)
        if taken < 1 or claimant.node not in {None, node}:
            continue
        if not await _open(conn, claimant.reservation_id):
            continue
        await _hold(conn, claimant, {claimant.line_id: taken})
        sale.took(sku, claimant.channel, taken, claimant.node)
        units -= taken


async def wake_undated(conn: AsyncConnection, sku: str, call: str) -> None:
    """
    Have who claims some of a SKU, and has no date, try again: with what is there it may be enough.
    """
    rows = await conn.execute(
        text(
            "SELECT order_id, min(since) AS since FROM backorders JOIN supply_claims"
            " USING (order_id) WHERE expected_at IS NULL AND sku = :sku"
            " GROUP BY order_id ORDER BY since, order_id"
        ),
        {"sku": sku},
    )
    for row in rows.all():
        body = {"order_id": row.order_id}
        name = f"{call}:{row.order_id}"
        await inbox.put(conn, "supply", name, "supply", body, order_id=row.order_id)


async def awaited(conn: AsyncConnection, order_id: str) -> tuple[Awaited, ...]:
    """What the order waits for by name, the first to come first."""
    query = (
        select(
            *(supply_claims.c.line_id, supply_claims.c.sku, supply_claims.c.source),
            *(supply_claims.c.ref, supply_claims.c.units, supplies.c.expected_at),
        )
        .join(supplies)
        .where(supply_claims.c.order_id == order_id)
        .order_by(supplies.c.expected_at, supply_claims.c.line_id, supply_claims.c.ref)
    )
    rows = await conn.execute(query)
    return tuple(Awaited.model_validate(dict(row)) for row in rows.mappings())


async def _joined(conn: AsyncConnection, ask: Ask, answer: Answer) -> Answer:
    """
    The answer for an order that is short: it waits, perhaps with what is there. What its cart holds
    is there for it, and stays the cart's as long as nothing is kept.
    """
    if not await _open(conn, ask.reservation_id):
        return answer
    order_id = ask.order_id or ""
    carts, cart = await _cart(conn, ask)
    room = await Room.locked(conn, [ask], carts)
    found = room.beyond(ask, await _held(conn, ask.reservation_id), cart)
    await _write(conn, ask)
    if found is None:  # there are enough units, and nowhere whole kits of them
        return answer
    there, missing = found
    skus = {line.sku for line in ask.lines}
    free = _by_sku(ask, there) - Counter(cart.units if cart and cart.fate == "taken" else {})
    if not missing or (there and await matching.covered(conn, ask, free, missing)):
        claimant = _Claimant(order_id, "", "", ask.reservation_id, ask.channel, ask.node, 0)
        answer = answer._replace(cart=await _given(conn, ask, carts, cart) or answer.cart)
        await _hold(conn, claimant, there)
    if not missing:
        await _taken(conn, ask)
        whole = {line.line_id: line.quantity for line in ask.lines}
        return answer._replace(taken=whole, missing={})
    await matching.rematch(conn, skus, "one before it waits", quiet=order_id)
    query = select(backorders.c.expected_at).where(backorders.c.order_id == order_id)
    expected = (await conn.execute(query)).scalar_one()
    short = {sku: sum(n.values()) for sku, n in missing.items()}
    return answer._replace(taken={}, missing=short, expected=expected)


def _by_sku(ask: Ask, there: Mapping[str, int]) -> Counter[str]:
    units = Counter[str]()
    for line in ask.lines:
        units[line.sku] += there.get(line.line_id, 0)
    return units


async def _cart(conn: AsyncConnection, ask: Ask) -> tuple[Carts, Cart | None]:
    """The cart that the order names, which `taking.look` has locked, as it is now."""
    carts = await Carts.locked(conn, {ask.takes_over} if ask.takes_over else ())
    return carts, carts.named(ask.takes_over, ask.channel, ask.order_id)


async def _given(conn: AsyncConnection, ask: Ask, carts: Carts, cart: Cart | None) -> Cart | None:
    """The cart, if it is the order's: it holds nothing any more."""
    if cart is None or cart.fate != "taken":
        return None
    carts.give(cart, ask.order_id or "", ask.actor)
    await carts.end(conn, await ledger.lock_nodes(conn, {node for _, node in carts.shelves}))
    return cart


async def _beyond(conn: AsyncConnection, ask: Ask, cart: Cart) -> None:
    """What a cart held beyond what its order wants is free now, and others may wait for it."""
    wanted = Counter[str]()
    for line in ask.lines:
        wanted[line.sku] += line.quantity
    free = [sku for sku, units in cart.units.items() if units > wanted[sku]]
    if cart.fate == "taken" and free:
        await inbox.wake_backordered(conn, free, f"cart:{cart.reservation_id}")


async def _taken(conn: AsyncConnection, ask: Ask) -> None:
    """The order has all it wants: what was held for it is its own, and it is out of the line."""
    await claims.set_reservations(conn, [ask.reservation_id], order_id=ask.order_id)
    await conn.execute(delete(backorders).where(backorders.c.order_id == ask.order_id))
    await matching.rematch(conn, {line.sku for line in ask.lines}, "one before it has its units")


async def _write(conn: AsyncConnection, ask: Ask) -> None:
    """Puts the order in the line, at the place of when it was accepted, unless it is there."""
    added = await conn.execute(
        text(
            "INSERT INTO backorders (order_id, reservation_id, channel, node, priority, since)"
            " SELECT :order, :reservation, :channel, :node,"
            " coalesce((o.body ->> 'priority')::integer, 0), coalesce(o.accepted_at, now())"
            " FROM (VALUES (1)) AS one LEFT JOIN orders AS o ON o.order_id = :order"
            " ON CONFLICT (order_id) DO NOTHING RETURNING order_id"
        ),
        {
            "order": ask.order_id,
            "reservation": ask.reservation_id,
            "channel": ask.channel,
            "node": ask.node,
        },
    )
    if added.first():
        rows = [
            {
                "order_id": ask.order_id,
                "line_id": line.line_id,
                "sku": line.sku,
                "quantity": line.quantity,
            }
            for line in ask.lines
        ]
        await conn.execute(upsert(backorder_lines), rows)


async def _hold(conn: AsyncConnection, claimant: _Claimant, taken: Mapping[str, int]) -> None:
    """Put units of lines into the reservation that the order will ask for."""
    made = upsert(reservations).values(
        reservation_id=claimant.reservation_id,
        node=claimant.node,
        channel=claimant.channel,
        state="committed",
    )
    if (await conn.execute(made.on_conflict_do_nothing().returning(text("1")))).first():
        await conn.execute(
            text(
                "INSERT INTO reservation_lines (reservation_id, line_id, sku, quantity, missing)"
                " SELECT :reservation, line_id, sku, 0, quantity FROM backorder_lines"
                " WHERE order_id = :order"
            ),
            {"reservation": claimant.reservation_id, "order": claimant.order_id},
        )
    units: Counter[str] = Counter()
    for line_id, quantity in taken.items():
        row = await conn.execute(
            text(
                "UPDATE reservation_lines SET quantity = quantity + :n, missing = missing - :n"
                " WHERE reservation_id = :reservation AND line_id = :line RETURNING sku"
            ),
            {"n": quantity, "reservation": claimant.reservation_id, "line": line_id},
        )
        units[row.scalar_one()] += quantity
    places = await ledger.lock_nodes(conn, [claimant.node] if claimant.node else [])
    why = Why(f"kept for {claimant.order_id}", SYSTEM, claimant.reservation_id, claimant.order_id)
    await ledger.post(conn, ledger.promised(units, claimant.node), places, why)


async def _open(conn: AsyncConnection, reservation_id: str) -> bool:
    """
    Whether units may be put into the reservation: it is open, or still to be made.

    The pool is locked before it, so that one in other hands is not waited for: it is being given
    up, and whoever does that hands on what it held.
    """
    query = select(reservations.c.state).where(reservations.c.reservation_id == reservation_id)
    if (await conn.execute(query)).first() is None:
        return True
    row = (await conn.execute(query.with_for_update(skip_locked=True))).first()
    return row is not None and row.state in claims.OPEN


async def _held(conn: AsyncConnection, reservation_id: str) -> dict[str, int]:
    query = select(reservation_lines.c.line_id, reservation_lines.c.quantity)
    rows = await conn.execute(query.where(reservation_lines.c.reservation_id == reservation_id))
    return {row.line_id: row.quantity for row in rows}


async def _claimants(conn: AsyncConnection, source: str, ref: str) -> list[_Claimant]:
    rows = await conn.execute(
        text(
            "SELECT order_id, line_id, sku, reservation_id, channel, node, units"
            " FROM supply_claims JOIN backorders USING (order_id)"
            " WHERE source = :source AND ref = :ref"
            " ORDER BY priority DESC, since, order_id, line_id"
        ),
        {"source": source, "ref": ref},
    )
    return [_Claimant(*row) for row in rows]
