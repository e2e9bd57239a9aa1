"""What is asked of reserve, and what it answers."""

from collections.abc import Iterable
from dataclasses import InitVar, dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from domain.errors import Invalid
from domain.orders import Units
from storage.availability import Bundle
from storage.carts import Cart
from storage.ledger import SYSTEM

_MOST: Final = 2**31 - 1


class Line(NamedTuple):
    """Units of a SKU for a line, and how many of those it wanted are `missing`."""

    line_id: str
    sku: str
    quantity: int
    missing: int


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
    lines: tuple[Line, ...] = field(init=False)
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


def _lines(units: Iterable[Units]) -> tuple[Line, ...]:
    """Each line once."""
    lines: dict[str, Line] = {}
    for unit in units:
        line_id, sku, quantity = unit.line_id, unit.sku, unit.quantity
        if line_id in lines:
            if lines[line_id].sku != sku:
                raise Invalid(f"units: line {line_id} is of two SKUs")
            quantity += lines[line_id].quantity
        if not 0 < quantity <= _MOST:
            raise Invalid(f"units: line {line_id} cannot be of {quantity} units")
        lines[line_id] = Line(line_id, sku, quantity, 0)
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
