"""
Units taken for many reservations at once: who came first is served first, in one statement.

What may be taken is what `domain.availability` says: `look` locks, asks it for one after the other
and then writes. `guess` takes that all is there, new, and held back by nothing, so that there is
nothing to ask; the statement that writes finds out. Both write by the function `reserve_units`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Conflict, Invalid, Refused
from domain.orders import Units
from storage import availability, claims, ledger
from storage.availability import Bundle, Sale
from storage.carts import Cart, Carts
from storage.ledger import SYSTEM, NodeNow, Shelves

_MOST: Final = 2**31 - 1
_WRONG: Final = frozenset({"CD001", "CD002", "23505"})  # not enough; held back; made before
_COLUMNS: Final = (
    "%s::text[], %s::integer[], %s::text[], %s::text[], %s::integer[],"
    " %s::text[], %s::text[], %s::text[], %s::text[], %s::integer[], %s::text[], %s::text[],"
    " %s::text[], %s::integer[], %s::integer[], %s::text[], %s::text[], %s::text[]"
)
# What was asked under a key is written with what was made of it.
_TOLD: Final = (
    "WITH told AS (INSERT INTO reservation_requests (reservation_id, channel, digest)"
    " SELECT * FROM unnest(%s::text[], %s::text[], %s::text[]))"
)
_GUESS: Final = f"SELECT reserve_units(true, {_COLUMNS})"
_WRITE: Final = f"SELECT reserve_units(false, {_COLUMNS})"


@dataclass(slots=True)
class Ask:
    """
    Units wanted under a caller's key: from the network, or with `node` at that node at once.

    They count for the `channel`, which may have what rules leave to it. With `ttl` the reservation
    ends by itself unless it is confirmed. All units or none, unless it may be made in part
    (`partial`); of a kit all components or none, always. `takes_over` names a reservation of the
    channel whose units become this one's. `digest` is of what a client asked under its key: the key
    stands for that and nothing else. An order that is short `waits`, see `backorders`. Raises
    Invalid for units that cannot be.
    """

    reservation_id: str
    order_id: str | None
    units: InitVar[Iterable[Units]]
    node: str | None = None
    channel: str = ""
    actor: str = SYSTEM
    ttl: timedelta | None = None
    partial: bool = False
    takes_over: str | None = None
    digest: str | None = None
    waits: bool = False
    lines: "tuple[_Line, ...]" = field(init=False)
    kits: tuple[Bundle, ...] = field(init=False)

    def __post_init__(self, units: Iterable[Units]) -> None:
        wanted = tuple(units)
        self.lines = _lines(wanted)
        self.kits = _kits(wanted)


class Answer(NamedTuple):
    """
    What was `taken` by line, what is `missing` by SKU; nothing taken leaves nothing behind.

    `cart` is what became of the reservation that was to be taken over, in the first answer. Of an
    order that waits, `expected` is when named supply has brought it, where that is known.
    """

    taken: dict[str, int]
    missing: dict[str, int]
    cart: Cart | None = None
    expected: datetime | None = None


async def guess(cursor: psycopg.AsyncCursor[Any], asks: Sequence[Ask]) -> list[Answer] | None:
    """
    Take everything for everyone, from the network, in one statement; None where that cannot be, or
    where something is held back of a SKU. No rule slips by that was committed before: the statement
    looks once the units are locked, and a change of rules waits for whoever holds them.

    On a connection that commits by itself this is the whole transaction.
    """
    rows = _Rows()
    answers = [Answer(rows.add(ask, ask.lines), {}) for ask in asks]
    try:
        await cursor.execute(*rows.written_by(_GUESS), prepare=True)
    except psycopg.Error as error:
        if error.sqlstate not in _WRONG:
            raise
        return None
    return answers


async def look(conn: AsyncConnection, asks: Sequence[Ask]) -> list[Answer | Refused]:
    """
    Decide for one after the other what there is, then take it.

    What was made before is answered as it was then; what ended before it was made is refused. The
    keys are different ones. Raises NotFound(node), and IntegrityError where another session makes
    one of the reservations at the same time: the transaction is lost then, and may be tried again.

    What is taken over is free for the one who takes it and for nobody else; where he is short and
    takes nothing, it stays as it was.
    """
    before = await _made_before(conn, [ask.reservation_id for ask in asks])
    locked = [ask for ask in asks if ask.waits or ask.reservation_id not in before]
    carts = await Carts.locked(conn, {ask.takes_over for ask in locked if ask.takes_over})
    room = await Room.locked(conn, locked, carts)
    rows = _Rows()
    answers: list[Answer | Refused] = []
    for ask in asks:
        made = before.get(ask.reservation_id)
        if made is not None:
            answers.append(made.answer(ask))
            continue
        cart = carts.named(ask.takes_over, ask.channel, ask.order_id)
        lines, missing = room.take(ask, cart)
        if lines is None:
            kept = cart is not None and cart.fate == "taken"
            answers.append(Answer({}, missing, None if kept else cart))
            continue
        carts.give(cart, ask.order_id or ask.reservation_id, ask.actor)
        answers.append(Answer(rows.add(ask, lines), missing, cart))
    await carts.end(conn, room.places)
    if rows:
        await conn.exec_driver_sql(*rows.written_by(_WRITE))
    return answers


def lacking(sale: Sale, ask: Ask) -> dict[str, int]:
    """What would be missing, by SKU, if this were asked of the sale; it stays as it is."""
    mark = sale.mark()
    _, missing = Room(sale, {}, {}).take(ask, None)
    sale.back(mark)
    return missing


class _Line(NamedTuple):
    line_id: str
    sku: str
    quantity: int
    missing: int


class _Made(NamedTuple):
    """A reservation that is there already."""

    state: str
    digest: str | None
    missing: Mapping[str, tuple[str, int]]

    def answer(self, ask: Ask) -> Answer | Refused:
        if self.state not in claims.OPEN:
            return claims.over(ask.reservation_id, self.state)
        if ask.digest != self.digest:
            return Conflict(
                f"{ask.reservation_id} was asked for with other content; use another key for it",
                code="reservation_differs",
            )
        missing: Counter[str] = Counter()
        for sku, units in self.missing.values():
            missing[sku] += units
        taken = {
            line.line_id: line.quantity - self.missing.get(line.line_id, ("", 0))[1]
            for line in ask.lines
        }
        return Answer(taken, dict(missing))


class Room:
    """What is there to take, counted down as it is taken. The `places` are locked."""

    def __init__(self, sale: Sale, places: Mapping[str, NodeNow], shelves: Shelves) -> None:
        self.places = places
        self._sale = sale
        self._short = Counter({place: shelf.short for place, shelf in shelves.items()})

    @classmethod
    async def locked(cls, conn: AsyncConnection, asks: Sequence[Ask], carts: Carts) -> "Room":
        """Makes the rows of what never was in stock: see `ledger.open_pool`."""
        skus = {line.sku for ask in asks for line in ask.lines} | carts.skus
        shelves = carts.shelves | {
            (line.sku, ask.node) for ask in asks if ask.node is not None for line in ask.lines
        }
        places = await ledger.lock_nodes(conn, {node for _, node in shelves})
        pool = await ledger.open_pool(conn, skus)
        found = await ledger.lock_stock(conn, shelves)
        pickups, kits = {sku for sku, _ in shelves}, {kit for ask in asks for kit in ask.kits}
        sale = await availability.open_sale(conn, pool, pickups=pickups, kits=kits)
        return cls(sale, places, found)

    def beyond(
        self, ask: Ask, held: Mapping[str, int], cart: Cart | None
    ) -> tuple[dict[str, int], dict[str, dict[str, int]]] | None:
        """
        What is there by line besides what is held for the ask, its cart's units among it, and what
        is still missing, by SKU and line. None where all is there, but its kits are nowhere whole.
        """
        own = self._freed(cart)
        where = cart.node if cart else None
        self._give(own, ask.channel, where)
        kept = Counter(own if where == ask.node else {})
        there: dict[str, int] = {}
        missing: dict[str, dict[str, int]] = {}
        for line in ask.lines:
            wanted = line.quantity - held.get(line.line_id, 0)
            left = self._sale.left(line.sku, ask.channel, ask.node)
            units = min(wanted, max(left, kept[line.sku]))
            if units:
                there[line.line_id] = units
                kept[line.sku] -= units
                self._sale.took(line.sku, ask.channel, units, ask.node)
            if wanted > units:
                missing.setdefault(line.sku, {})[line.line_id] = wanted - units
        if ask.kits and not missing:
            for line in ask.lines:
                self._sale.took(line.sku, ask.channel, -line.quantity, ask.node)
            if lacking(self._sale, ask):
                return None
        return there, missing

    def take(self, ask: Ask, cart: Cart | None) -> tuple[list[_Line] | None, dict[str, int]]:
        """The lines to write, None where nothing may be taken, and what is missing."""
        own = self._freed(cart)
        where = cart.node if cart else None
        self._give(own, ask.channel, where)
        if ask.kits:
            lines, missing = self._take_kits(ask)
        else:
            lines, missing = self._found(ask, own if where == ask.node else {})
        if lines is None:
            self._give({sku: -units for sku, units in own.items()}, ask.channel, where)
        elif cart and where is not None:  # what it was short of is not there for the next one
            for sku, units in cart.units.items():
                self._short[sku, where] = max(self._short[sku, where] - units, 0)
        return lines, missing

    def _freed(self, cart: Cart | None) -> dict[str, int]:
        """What of it is there to take: nothing where its node is down or short of just these."""
        if cart is None or cart.fate != "taken":
            return {}
        node = cart.node
        if node is None or not cart.units:
            return cart.units
        if not self.places[node].online:
            return {}
        there = {sku: units - self._short[sku, node] for sku, units in cart.units.items()}
        return {sku: units for sku, units in there.items() if units > 0}

    def _give(self, units: Mapping[str, int], channel: str, node: str | None) -> None:
        for sku, quantity in units.items():
            self._sale.took(sku, channel, -quantity, node)

    def _found(
        self, ask: Ask, kept: Mapping[str, int]
    ) -> tuple[list[_Line] | None, dict[str, int]]:
        """What was `kept` for the ask it may have, whatever is held back or was sold since."""
        taken: Counter[str] = Counter()
        missing: Counter[str] = Counter()
        lines = []
        for line in ask.lines:
            left = self._sale.left(line.sku, ask.channel, ask.node)
            left = max(left, kept.get(line.sku, 0)) - taken[line.sku]
            units = min(line.quantity, left)
            taken[line.sku] += units
            if short := line.quantity - units:
                missing[line.sku] += short
            lines.append(line._replace(quantity=units, missing=short))
        if missing and not (ask.partial and taken.total()):
            return None, dict(missing)
        for sku, units in (+taken).items():
            self._sale.took(sku, ask.channel, units, ask.node)
        return lines, dict(missing)

    def _take_kits(self, ask: Ask) -> tuple[list[_Line] | None, dict[str, int]]:
        """The same for kits, each whole, and then for what else is wanted."""
        sale, mark = self._sale, self._sale.mark()
        given: Counter[str] = Counter()
        in_kits: Counter[str] = Counter()
        lacking: Counter[str] = Counter()
        for kit in ask.kits:
            kits = min(kit.kits, sale.kits_left(kit, ask.channel, ask.node))
            if kits < kit.kits:
                lacking.update(_lacking(sale, ask, kit, kits))
            for line_id, sku, per_kit in kit.parts:
                in_kits[line_id] += kit.kits * per_kit
                if kits:
                    given[line_id] += kits * per_kit
                    sale.took(sku, ask.channel, kits * per_kit, ask.node)
        for line in ask.lines:
            loose = line.quantity - in_kits[line.line_id]
            units = min(loose, sale.left(line.sku, ask.channel, ask.node)) if loose else 0
            if units < loose:
                lacking[line.sku] += loose - units
            if units:
                given[line.line_id] += units
                sale.took(line.sku, ask.channel, units, ask.node)
        if lacking and not (ask.partial and given.total()):
            sale.back(mark)
            return None, dict(lacking)
        lines, missing = [], Counter[str]()
        for line in ask.lines:
            units = given[line.line_id]
            lines.append(line._replace(quantity=units, missing=line.quantity - units))
            missing[line.sku] += line.quantity - units
        return lines, dict(+missing)


def _lacking(sale: Sale, ask: Ask, kit: Bundle, there_are: int) -> dict[str, int]:
    """
    What more of each component would do; of all of them where each alone is there, but not
    together at a node.
    """
    short = {
        sku: max(kit.kits * per_kit - sale.left(sku, ask.channel, ask.node), 0)
        for _, sku, per_kit in kit.parts
    }
    if any(short.values()):
        return {sku: units for sku, units in short.items() if units}
    return {sku: (kit.kits - there_are) * per_kit for _, sku, per_kit in kit.parts}


class _Rows:
    """What is to be written of many reservations, as the columns of `reserve_units`."""

    def __init__(self) -> None:
        self._pool: dict[str, int] = {}
        self._places: dict[tuple[str, str], int] = {}
        self._reservations: list[tuple[str, str | None, str | None, str, int | None]] = []
        self._lines: list[tuple[str, str, str, int, int, str | None, str | None, str]] = []
        self._told: list[tuple[str, str, str]] = []

    def __bool__(self) -> bool:
        return bool(self._reservations)

    def add(self, ask: Ask, lines: Iterable[_Line]) -> dict[str, int]:
        """Answers the units by line."""
        name, order_id, node, actor = ask.reservation_id, ask.order_id, ask.node, ask.actor
        seconds = None if ask.ttl is None else max(int(ask.ttl.total_seconds()), 1)
        self._reservations.append((name, order_id, node, ask.channel, seconds))
        if ask.digest is not None:
            self._told.append((name, ask.channel, ask.digest))
        taken = {}
        for line_id, sku, quantity, missing in lines:
            taken[line_id] = quantity
            self._pool[sku] = self._pool.get(sku, 0) + quantity
            if node is not None:
                self._places[sku, node] = self._places.get((sku, node), 0) + quantity
            line = (name, line_id, sku, quantity, missing, order_id, node, actor)
            self._lines.append(line)
        return taken

    def written_by(self, statement: str) -> tuple[str, tuple[str, ...]]:
        """The statement, with what clients asked for where some did, and its parameters."""
        if not self._told:
            return statement, self._columns()
        told = tuple(_texts(column) for column in _turned(self._told, 3))
        return f"{_TOLD} {statement}", (*told, *self._columns())

    def _columns(self) -> tuple[str, ...]:
        pool = {sku: units for sku, units in sorted(self._pool.items()) if units}
        places = {place: units for place, units in sorted(self._places.items()) if units}
        ids, orders, nodes, channels, ttls = _turned(self._reservations, 5)
        of, line_ids, skus, quantities, missing, line_orders, line_nodes, actors = _turned(
            self._lines, 8
        )
        names, order_names = _texts(ids), _texts(orders)
        return (
            _texts(tuple(pool)),
            _numbers(pool.values()),
            _texts([sku for sku, _ in places]),
            _texts([node for _, node in places]),
            _numbers(places.values()),
            *(names, order_names, _texts(nodes), _texts(channels), _numbers(ttls)),
            *(names if of == ids else _texts(of), _texts(line_ids), _texts(skus)),
            *(_numbers(quantities), _numbers(missing) if any(missing) else "{}"),
            *(order_names if line_orders == orders else _texts(line_orders), _texts(line_nodes)),
            _texts(actors),
        )


def _lines(units: Iterable[Units]) -> tuple[_Line, ...]:
    """Each line once."""
    lines: dict[str, _Line] = {}
    for unit in units:
        line_id, sku, quantity = unit.line_id, unit.sku, unit.quantity
        if line_id in lines:
            if lines[line_id].sku != sku:
                raise Invalid(f"units: line {line_id} is of two SKUs")
            quantity += lines[line_id].quantity
        if not 0 < quantity <= _MOST:
            raise Invalid(f"units: line {line_id} cannot be of {quantity} units")
        lines[line_id] = _Line(line_id, sku, quantity, 0)
    return tuple(lines.values())


def _kits(units: Iterable[Units]) -> tuple[Bundle, ...]:
    """The kits that these units make, by the line on which they were sold."""
    found: dict[str, Bundle] = {}
    for unit in units:
        if (kit := unit.kit) is not None:
            known = found.get(kit.line_id, Bundle(kit.sku, kit.kits, kit.together, ()))
            parts = (*known.parts, (unit.line_id, unit.sku, kit.per_kit))
            found[kit.line_id] = known._replace(parts=parts)
    return tuple(found.values())


async def _made_before(conn: AsyncConnection, ids: Sequence[str]) -> dict[str, _Made]:
    rows = await conn.execute(
        text(
            "SELECT r.reservation_id, r.state, q.digest, l.line_id, l.sku, l.missing"
            " FROM reservations AS r"
            " LEFT JOIN reservation_requests AS q ON q.reservation_id = r.reservation_id"
            " LEFT JOIN reservation_lines AS l"
            " ON l.reservation_id = r.reservation_id AND l.missing > 0"
            " WHERE r.reservation_id = ANY(:ids)"
        ),
        {"ids": list(ids)},
    )
    made: dict[str, _Made] = {}
    for row in rows:
        known = made.setdefault(row.reservation_id, _Made(row.state, row.digest, {}))
        if row.line_id is not None:
            made[row.reservation_id] = known._replace(
                missing={**known.missing, row.line_id: (row.sku, row.missing)}
            )
    return made


def _turned(rows: Sequence[tuple[Any, ...]], width: int) -> Iterable[Sequence[Any]]:
    return zip(*rows, strict=True) if rows else [()] * width


def _texts(values: Sequence[str | None]) -> str:
    """An array as Postgres reads it: the driver's own way costs ten times as much."""
    if None in values:
        if values.count(None) == len(values):
            return "{}"
        return "{" + ",".join("NULL" if v is None else f'"{_escaped(v)}"' for v in values) + "}"
    joined = '","'.join(values)  # type: ignore[arg-type]  # there is no None in it
    if "\\" in joined or joined.count('"') != 2 * max(len(values) - 1, 0):
        joined = '","'.join(_escaped(v or "") for v in values)
    return f'{{"{joined}"}}' if values else "{}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _numbers(values: Collection[int | None]) -> str:
    """The same for numbers."""
    if None not in values:
        return f"{{{','.join(map(str, values))}}}"
    return "{" + ",".join("NULL" if v is None else str(v) for v in values) + "}"
