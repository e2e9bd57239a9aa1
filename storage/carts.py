"""Carts whose units an order takes over, in the transaction that makes the order's reservation."""

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from storage import claims, ledger
from storage.claims import Reservation
from storage.ledger import NodeNow, Why
from storage.tables import reservations

Fate = Literal["taken", "unknown", "used", "expired", "released", "fulfilled"]


class Cart(NamedTuple):
    """
    A reservation that an order names, and its `fate`: `taken` is that its units are the order's
    now, or are to be; `used` that it is another order's. The rest are as they say.
    """

    reservation_id: str
    fate: Fate
    node: str | None = None
    units: dict[str, int] = {}


class Carts:
    """The reservations that orders name, locked. What was given to one is no other's any more."""

    def __init__(
        self, rows: Mapping[str, Reservation], units: Mapping[str, dict[str, int]]
    ) -> None:
        self._rows = dict(rows)
        self._units = units
        self._given: list[tuple[Reservation, Why]] = []

    @classmethod
    async def locked(cls, conn: AsyncConnection, ids: Collection[str]) -> "Carts":
        if not ids:
            return cls({}, {})
        query = select(reservations).where(reservations.c.reservation_id.in_(ids))
        found = await conn.execute(query.order_by(reservations.c.reservation_id).with_for_update())
        rows = {row.reservation_id: claims.of_row(row) for row in found}
        lines = await claims.reserved_lines(conn, [name for name, row in rows.items() if row.open])
        return cls(rows, {name: dict(claims.by_sku(held)) for name, held in lines.items()})

    @property
    def skus(self) -> set[str]:
        return {sku for units in self._units.values() for sku in units}

    @property
    def shelves(self) -> set[tuple[str, str]]:
        """Where those that are at a node hold their units."""
        return {
            (sku, row.node)
            for name, row in self._rows.items()
            if row.node is not None
            for sku in self._units.get(name, ())
        }

    def named(self, reservation_id: str | None, channel: str, order_id: str | None) -> Cart | None:
        """What the order finds under the name; None where it names none, or has had it before."""
        if reservation_id is None:
            return None
        row = self._rows.get(reservation_id)
        if row is None or (row.channel != channel and row.open):
            return Cart(reservation_id, "unknown")
        if row.order_id not in {None, order_id}:
            return Cart(reservation_id, "used")
        if row.state in {"held", "committed"}:
            return Cart(reservation_id, "taken", row.node, self._units.get(reservation_id, {}))
        if row.order_id is not None:
            return None
        fates: dict[str, Fate] = {"expired": "expired", "fulfilled": "fulfilled"}
        return Cart(reservation_id, fates.get(row.state, "released"))

    def give(self, cart: Cart | None, order_id: str, actor: str) -> None:
        """Its units are to be this order's."""
        if cart is None or cart.fate != "taken":
            return
        name = cart.reservation_id
        row = self._rows[name]._replace(order_id=order_id)
        self._given.append((row, Why(f"taken over by {order_id}", actor, name, order_id)))
        self._rows[name] = row._replace(state="released")

    async def end(self, conn: AsyncConnection, places: Mapping[str, NodeNow]) -> None:
        """Post that those given away hold nothing any more. Pool and shelves are locked."""
        if not self._given:
            return
        told = []
        for row, why in self._given:
            await claims.set_reservations(
                conn, [row.reservation_id], state="released", order_id=row.order_id
            )
            left = {sku: -n for sku, n in self._units.get(row.reservation_id, {}).items()}
            told += [(entry, why) for entry in ledger.promised(left, row.node)]
        await claims.empty_reservations(conn, [row.reservation_id for row, _ in self._given])
        await ledger.post_all(conn, told, places)
