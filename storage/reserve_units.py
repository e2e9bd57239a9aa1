"""The function `reserve_units` of the database, and its columns."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from storage.asks import Ask, Line

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
GUESS: Final = f"SELECT reserve_units(true, {_COLUMNS})"
WRITE: Final = f"SELECT reserve_units(false, {_COLUMNS})"


class Rows:
    """What is to be written of many reservations, as the columns of `reserve_units`."""

    def __init__(self) -> None:
        self._pool: dict[str, int] = {}
        self._places: dict[tuple[str, str], int] = {}
        self._reservations: list[tuple[str, str | None, str | None, str, int | None]] = []
        self._lines: list[tuple[str, str, str, int, int, str | None, str | None, str]] = []
        self._told: list[tuple[str, str, str]] = []

    def __bool__(self) -> bool:
        return bool(self._reservations)

    def add(self, ask: Ask, lines: Iterable[Line]) -> dict[str, int]:
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
