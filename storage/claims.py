"""Whose units are whose: the rows of reservations and allocations, below the verbs."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final, NamedTuple

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Conflict, Refused
from domain.fulfillments import Fulfillment, LineQuantity
from domain.orders import Units
from storage.tables import allocation_lines, allocations, reservation_lines, reservations

OPEN: Final = frozenset({"held", "committed"})


class Reservation(NamedTuple):
    reservation_id: str
    order_id: str | None
    node: str | None
    state: str
    channel: str = ""

    @property
    def open(self) -> bool:
        return self.state in OPEN

    def takes(self, node: str) -> bool:
        """Whether units of this node may come back to it."""
        return self.open and self.node in {None, node}


class Allocation(NamedTuple):
    fulfillment_id: str
    order_id: str
    node: str
    lines: tuple[Units, ...]
    shipped: int
    capacity_day: date | None

    def take(self, lines: Sequence[LineQuantity]) -> tuple[Units, ...]:
        """These units of what is allocated; no lines means all. Raises Conflict(not_allocated)."""
        return part(self.fulfillment_id, self.lines, lines, code="not_allocated")

    def is_all(self, lines: Collection[Units]) -> bool:
        return sum(line.quantity for line in lines) == sum(line.quantity for line in self.lines)


def part(
    name: str, here: Sequence[Units], lines: Sequence[LineQuantity], *, code: str
) -> tuple[Units, ...]:
    """These units of what is here; no lines means all. Raises Conflict(code) where it is fewer."""
    if not lines:
        return tuple(line for line in here if line.quantity)
    wanted: Counter[str] = Counter()
    for line in lines:
        wanted[line.line_id] += line.quantity
    found = {line.line_id: line for line in here}
    for line_id, quantity in wanted.items():
        if line_id not in found or quantity > found[line_id].quantity:
            raise Conflict(f"{name} line {line_id} holds fewer units than {quantity}", code=code)
    return tuple(
        Units(line_id=line_id, sku=found[line_id].sku, quantity=quantity)
        for line_id, quantity in wanted.items()
    )


def of_row(row: Row[Any]) -> Reservation:
    return Reservation(row.reservation_id, row.order_id, row.node, row.state, row.channel)


async def lock_reservation(conn: AsyncConnection, reservation_id: str) -> Reservation | None:
    query = select(reservations).where(reservations.c.reservation_id == reservation_id)
    row = (await conn.execute(query.with_for_update())).first()
    if row is None:
        return None
    return of_row(row)


async def lock_expired(conn: AsyncConnection, limit: int) -> tuple[Reservation, ...]:
    """Reservations whose time is over, the longest over first, but for those in other hands."""
    query = select(reservations).where(
        reservations.c.state == "held", reservations.c.expires_at <= func.now()
    )
    query = query.order_by(reservations.c.expires_at).limit(limit)
    rows = await conn.execute(query.with_for_update(skip_locked=True))
    return tuple(of_row(row) for row in rows)


def held(reservation: Reservation | None, reservation_id: str) -> Reservation:
    """
    Raises Conflict(not_reserved, reservation_released, reservation_expired,
    reservation_fulfilled) where it is not held.
    """
    if reservation is None:
        raise Conflict(f"there is no reservation {reservation_id}", code="not_reserved")
    if not reservation.open:
        raise over(reservation_id, reservation.state)
    return reservation


def over(reservation_id: str, state: str) -> Conflict:
    """What is said of a reservation that has ended in this state."""
    return Conflict(f"{reservation_id} was {state}", code=f"reservation_{state}")


async def lock_or_bury(conn: AsyncConnection, reservation_id: str) -> Reservation | None:
    """The reservation; None where it was never made, and then it never will be."""
    tombstone = upsert(reservations).values(reservation_id=reservation_id, state="released")
    await conn.execute(tombstone.on_conflict_do_nothing())
    reservation = await lock_reservation(conn, reservation_id)
    return reservation if reservation and reservation.open else None


async def set_reservations(
    conn: AsyncConnection, reservation_ids: Collection[str], **values: str | None
) -> None:
    """Its state, its place, its order: what the verbs change."""
    chosen = reservations.c.reservation_id.in_(reservation_ids)
    await conn.execute(update(reservations).where(chosen).values(values))


async def reserved_lines(
    conn: AsyncConnection, reservation_ids: Collection[str]
) -> dict[str, tuple[Units, ...]]:
    """What each of these reservations holds now."""
    query = select(reservation_lines).where(
        reservation_lines.c.reservation_id.in_(reservation_ids), reservation_lines.c.quantity > 0
    )
    lines: defaultdict[str, list[Units]] = defaultdict(list)
    for row in await conn.execute(query.order_by(reservation_lines.c.line_id)):
        lines[row.reservation_id].append(Units.model_validate(row, from_attributes=True))
    return {reservation_id: tuple(held) for reservation_id, held in lines.items()}


async def skus_of(conn: AsyncConnection, reservation_ids: Collection[str]) -> set[str]:
    """What these reservations are of, or were."""
    query = select(reservation_lines.c.sku).distinct()
    rows = await conn.execute(query.where(reservation_lines.c.reservation_id.in_(reservation_ids)))
    return set(rows.scalars())


async def empty_reservations(conn: AsyncConnection, reservation_ids: Collection[str]) -> None:
    """They hold nothing any more."""
    query = update(reservation_lines).where(
        reservation_lines.c.reservation_id.in_(reservation_ids), reservation_lines.c.quantity > 0
    )
    await conn.execute(query.values(quantity=0))


async def add_to_reservation(
    conn: AsyncConnection, reservation_id: str, units: Iterable[Units]
) -> None:
    quantities: Counter[tuple[str, str]] = Counter()
    for unit in units:
        quantities[unit.line_id, unit.sku] += unit.quantity
    if not quantities:
        return
    rows = [
        {"reservation_id": reservation_id, "line_id": line, "sku": sku, "quantity": 0}
        for line, sku in quantities
    ]
    # Of none first, as no movement makes a line: what then changes in it has its second copy.
    await conn.execute(upsert(reservation_lines).on_conflict_do_nothing(), rows)
    deltas = {line: quantity for (line, _), quantity in quantities.items()}
    await add_units(conn, reservation_id, deltas)


async def reserved_skus(
    conn: AsyncConnection, reservation: Reservation, fulfillments: Sequence[Fulfillment]
) -> dict[str, str]:
    """The SKU of each line. Raises Conflict(not_reserved) unless all is reserved, and there."""
    if elsewhere := [f.node for f in fulfillments if not reservation.takes(f.node)]:
        raise Conflict(
            f"{reservation.reservation_id} holds no units at {elsewhere[0]}", code="not_reserved"
        )
    found = await reserved_lines(conn, [reservation.reservation_id])
    lines = {line.line_id: line for line in found.get(reservation.reservation_id, ())}
    for line_id, quantity in _by_line(fulfillments).items():
        here = lines[line_id].quantity if line_id in lines else 0
        if quantity > here:
            raise Conflict(
                f"{reservation.reservation_id} line {line_id}: {quantity} units are to be"
                f" allocated where {here} are reserved",
                code="not_reserved",
            )
    return {line_id: line.sku for line_id, line in lines.items()}


async def take_from_reservation(
    conn: AsyncConnection, reservation_id: str, fulfillments: Sequence[Fulfillment]
) -> None:
    taken = {line_id: -quantity for line_id, quantity in _by_line(fulfillments).items()}
    await add_units(conn, reservation_id, taken)


async def add_units(conn: AsyncConnection, reservation_id: str, deltas: Mapping[str, int]) -> None:
    """Change by so many units what the lines of a reservation hold."""
    for line_id, delta in deltas.items():
        await conn.execute(
            update(reservation_lines)
            .where(
                reservation_lines.c.reservation_id == reservation_id,
                reservation_lines.c.line_id == line_id,
            )
            .values(quantity=reservation_lines.c.quantity + delta)
        )


async def open_allocations(
    conn: AsyncConnection,
    fulfillments: Sequence[Fulfillment],
    skus: Mapping[str, str],
    capacity_days: Mapping[str, date],
    channel: str = "",
) -> None:
    """Raises Refused(allocation_released) where one was given back before it was made."""
    rows = [
        {
            "fulfillment_id": f.fulfillment_id,
            "order_id": f.order_id,
            "node": f.node,
            "channel": channel,
            "capacity_day": capacity_days.get(f.node),
            "state": "held",
        }
        for f in fulfillments
    ]
    statement = upsert(allocations).values(rows).on_conflict_do_nothing()
    result = await conn.execute(statement.returning(allocations.c.fulfillment_id))
    if late := sorted({f.fulfillment_id for f in fulfillments} - set(result.scalars())):
        raise Refused(f"{late[0]} was allocated or given back before", code="allocation_released")
    await conn.execute(
        insert(allocation_lines),
        [
            {
                "fulfillment_id": f.fulfillment_id,
                "line_id": line.line_id,
                "sku": skus[line.line_id],
                "quantity": line.quantity,
            }
            for f in fulfillments
            for line in f.lines
        ],
    )


async def lock_allocation(conn: AsyncConnection, fulfillment_id: str) -> Allocation | None:
    """The allocation; None where it was never made, and then it never will be."""
    tombstone = upsert(allocations).values(fulfillment_id=fulfillment_id, order_id="", state="void")
    tombstone = tombstone.on_conflict_do_nothing()
    if (await conn.execute(tombstone.returning(allocations.c.state))).first():
        return None
    row = (
        await conn.execute(
            select(allocations)
            .where(allocations.c.fulfillment_id == fulfillment_id)
            .with_for_update()
        )
    ).one()
    if row.state == "void":
        return None
    lines = (
        await conn.execute(
            select(allocation_lines).where(allocation_lines.c.fulfillment_id == fulfillment_id)
        )
    ).all()
    return Allocation(
        fulfillment_id,
        row.order_id,
        row.node,
        tuple(Units.model_validate(line, from_attributes=True) for line in lines),
        sum(line.shipped for line in lines),
        row.capacity_day,
    )


async def take_from_allocation(
    conn: AsyncConnection, fulfillment_id: str, lines: Iterable[Units], *, into: str
) -> None:
    """Move units out of the allocation, into the column `shipped` or `returned`."""
    counted = allocation_lines.c[into]
    for line in lines:
        await conn.execute(
            update(allocation_lines)
            .where(
                allocation_lines.c.fulfillment_id == fulfillment_id,
                allocation_lines.c.line_id == line.line_id,
            )
            .values(
                {
                    "quantity": allocation_lines.c.quantity - line.quantity,
                    into: counted + line.quantity,
                }
            )
        )


def by_sku(units: Iterable[Units]) -> Counter[str]:
    total: Counter[str] = Counter()
    for unit in units:
        total[unit.sku] += unit.quantity
    return total


def _by_line(fulfillments: Sequence[Fulfillment]) -> Counter[str]:
    total: Counter[str] = Counter()
    for fulfillment in fulfillments:
        for line in fulfillment.lines:
            total[line.line_id] += line.quantity
    return total
