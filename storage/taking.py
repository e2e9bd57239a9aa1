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

from domain.errors import Invalid, Refused
from domain.orders import Units
from storage import availability, claims, ledger
from storage.availability import Sale
from storage.ledger import SYSTEM

_MOST: Final = 2**31 - 1
_WRONG: Final = frozenset({"CD001", "CD002", "23505"})  # not enough; held back; made before
_COLUMNS: Final = (
    "%s::text[], %s::integer[], %s::text[], %s::text[], %s::integer[],"
    " %s::text[], %s::text[], %s::text[], %s::text[], %s::integer[], %s::text[], %s::text[],"
    " %s::text[], %s::integer[], %s::integer[], %s::text[], %s::text[], %s::text[]"
)
_GUESS: Final = f"SELECT reserve_units(true, {_COLUMNS})"
_WRITE: Final = f"SELECT reserve_units(false, {_COLUMNS})"


@dataclass(slots=True)
class Ask:
    """
    Units wanted under a caller's key: from the network, or with `node` at that node at once.

    They count for the `channel`, which may have what rules leave to it. With `ttl` the reservation
    ends by itself unless it is confirmed. All units or none, unless it may be made in part
    (`partial`). An order that is short `waits`, see `backorders`. Raises Invalid for units that
    cannot be.
    """

    reservation_id: str
    order_id: str | None
    units: InitVar[Iterable[Units]]
    node: str | None = None
    channel: str = ""
    actor: str = SYSTEM
    ttl: timedelta | None = None
    partial: bool = False
    waits: bool = False
    lines: "tuple[_Line, ...]" = field(init=False)

    def __post_init__(self, units: Iterable[Units]) -> None:
        self.lines = _lines(units)


class Answer(NamedTuple):
    """
    What was `taken` by line, what is `missing` by SKU; nothing taken leaves nothing behind. Of an
    order that waits, `expected` is when named supply has brought it, where that is known.
    """

    taken: dict[str, int]
    missing: dict[str, int]
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
        await cursor.execute(_GUESS, rows.columns(), prepare=True)
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
    """
    before = await _made_before(conn, [ask.reservation_id for ask in asks])
    room = await _Room.locked(
        conn, [ask for ask in asks if ask.waits or ask.reservation_id not in before]
    )
    rows = _Rows()
    answers: list[Answer | Refused] = []
    for ask in asks:
        made = before.get(ask.reservation_id)
        if made is not None:
            answers.append(made.answer(ask))
            continue
        lines, missing = room.take(ask)
        answers.append(Answer({} if lines is None else rows.add(ask, lines), missing))
    if rows:
        await conn.exec_driver_sql(_WRITE, rows.columns())
    return answers


class _Line(NamedTuple):
    line_id: str
    sku: str
    quantity: int
    missing: int


class _Made(NamedTuple):
    """A reservation that is there already."""

    state: str
    missing: Mapping[str, tuple[str, int]]

    def answer(self, ask: Ask) -> Answer | Refused:
        if self.state not in claims.OPEN:
            return claims.over(ask.reservation_id, self.state)
        missing: Counter[str] = Counter()
        for sku, units in self.missing.values():
            missing[sku] += units
        taken = {
            line.line_id: line.quantity - self.missing.get(line.line_id, ("", 0))[1]
            for line in ask.lines
        }
        return Answer(taken, dict(missing))


class _Room:
    """What is there to take, counted down as it is taken."""

    def __init__(self, sale: Sale) -> None:
        self._sale = sale

    @classmethod
    async def locked(cls, conn: AsyncConnection, asks: Sequence[Ask]) -> "_Room":
        """Makes the rows of what never was in stock: see `ledger.open_pool`."""
        skus = {line.sku for ask in asks for line in ask.lines}
        places = {
            (line.sku, ask.node) for ask in asks if ask.node is not None for line in ask.lines
        }
        await ledger.lock_nodes(conn, {node for _, node in places})
        pool = await ledger.open_pool(conn, skus)
        await ledger.lock_stock(conn, places)
        return cls(await availability.open_sale(conn, pool, pickups={sku for sku, _ in places}))

    def take(self, ask: Ask) -> tuple[list[_Line] | None, dict[str, int]]:
        """The lines to write, None where nothing may be taken, and what is missing."""
        taken: Counter[str] = Counter()
        missing: Counter[str] = Counter()
        lines = []
        for line in ask.lines:
            left = self._sale.left(line.sku, ask.channel, ask.node) - taken[line.sku]
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


class _Rows:
    """What is to be written of many reservations, as the columns of `reserve_units`."""

    def __init__(self) -> None:
        self._pool: dict[str, int] = {}
        self._places: dict[tuple[str, str], int] = {}
        self._reservations: list[tuple[str, str | None, str | None, str, int | None]] = []
        self._lines: list[tuple[str, str, str, int, int, str | None, str | None, str]] = []

    def __bool__(self) -> bool:
        return bool(self._reservations)

    def add(self, ask: Ask, lines: Iterable[_Line]) -> dict[str, int]:
        """Answers the units by line."""
        name, order_id, node, actor = ask.reservation_id, ask.order_id, ask.node, ask.actor
        seconds = None if ask.ttl is None else max(int(ask.ttl.total_seconds()), 1)
        self._reservations.append((name, order_id, node, ask.channel, seconds))
        taken = {}
        for line_id, sku, quantity, missing in lines:
            taken[line_id] = quantity
            self._pool[sku] = self._pool.get(sku, 0) + quantity
            if node is not None:
                self._places[sku, node] = self._places.get((sku, node), 0) + quantity
            line = (name, line_id, sku, quantity, missing, order_id, node, actor)
            self._lines.append(line)
        return taken

    def columns(self) -> tuple[str, ...]:
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


async def _made_before(conn: AsyncConnection, ids: Sequence[str]) -> dict[str, _Made]:
    rows = await conn.execute(
        text(
            "SELECT r.reservation_id, r.state, l.line_id, l.sku, l.missing FROM reservations AS r"
            " LEFT JOIN reservation_lines AS l"
            " ON l.reservation_id = r.reservation_id AND l.missing > 0"
            " WHERE r.reservation_id = ANY(:ids)"
        ),
        {"ids": list(ids)},
    )
    made: dict[str, _Made] = {}
    for row in rows:
        known = made.setdefault(row.reservation_id, _Made(row.state, {}))
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
