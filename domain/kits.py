"""Kits: sold on one line, kept as their components' lines, and told again as whole kits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

from domain.fulfillments import LineQuantity
from domain.money import Money
from domain.network import Kit
from domain.orders import Bucket, Line, LineState, Order, PartOf, Units

# From the furthest behind to the furthest on. A kit is where its last component is, and it is
# cancelled once one of them is: it never will be whole.
_PROGRESS: Final = (
    Bucket.CANCELLED,
    Bucket.UNFILLABLE,
    Bucket.BACKORDERED,
    Bucket.OPEN,
    Bucket.RESERVED,
    Bucket.ALLOCATED,
    Bucket.RELEASED,
    Bucket.READY_FOR_PICKUP,
    Bucket.SHIPPED,
    Bucket.DELIVERED,
    Bucket.PICKED_UP,
)


def lines_of(order: Order, line: Line, kit: Kit) -> tuple[LineState, ...]:
    """The lines of a kit's components; the price of the kits split by units."""
    price = Money(minor=line.unit_price_minor * line.quantity, currency=order.currency)
    shares = price.split([component.quantity for component in kit.components])
    names = [other.line_id for other in order.lines]
    parts = _parts(line.line_id, line.quantity, kit, names)
    return tuple(
        LineState(
            line_id=part.line_id,
            sku=part.sku,
            ordered=part.quantity,
            buckets={Bucket.OPEN: part.quantity},
            kit=part.kit,
            goods_minor=share.minor,
        )
        for part, share in zip(parts, shares, strict=True)
    )


def units_of(lines: Sequence[LineState], quantities: Iterable[LineQuantity]) -> tuple[Units, ...]:
    """Quantities of an order's lines by SKU, with the whole kits that they make."""
    due = {lq.line_id: lq.quantity for lq in quantities}
    whole = _whole(lines, due)
    return tuple(
        Units(
            line_id=line.line_id,
            sku=line.sku,
            quantity=due[line.line_id],
            kit=line.kit.model_copy(update={"kits": whole[line.kit.line_id]})
            if line.kit and whole[line.kit.line_id]
            else None,
        )
        for line in lines
        if due.get(line.line_id)
    )


def exploded(sold: Sequence[Units], kits: Mapping[str, Kit]) -> tuple[Units, ...]:
    """A cart's lines with each kit as its components, named as an order's would be."""
    names = [line.line_id for line in sold]
    units: list[Units] = []
    for line in sold:
        kit = kits.get(line.sku)
        units += _parts(line.line_id, line.quantity, kit, names) if kit else [line]
    return tuple(units)


def sold_of(
    lines: Sequence[LineState], quantities: Iterable[LineQuantity]
) -> tuple[LineQuantity, ...]:
    """Quantities on the lines as they were sold: of a kit the whole ones that they make."""
    due = {lq.line_id: lq.quantity for lq in quantities}
    parts = {line.line_id for line in lines if line.kit}
    plain = {line_id: units for line_id, units in due.items() if line_id not in parts}
    return _quantities({**plain, **_whole(lines, due)})


def as_sold(
    before: Sequence[LineState],
    after: Sequence[LineState],
    moved: Iterable[LineQuantity],
    *buckets: Bucket,
) -> tuple[LineQuantity, ...]:
    """
    What moved into these buckets, on the lines as they were sold: of a kit the kits that have
    become whole there.
    """
    parts = {line.line_id for line in after if line.kit}
    plain = tuple(lq for lq in moved if lq.line_id not in parts)
    now, then = (_whole(s, {x.line_id: x.units(*buckets) for x in s}) for s in (after, before))
    return (*plain, *_quantities({sold: kits - then[sold] for sold, kits in now.items()}))


def kit_buckets(parts: Sequence[LineState]) -> dict[Bucket, int]:
    """Where the kits of one line are, of its components' lines; they sum to the kits sold."""
    reached = [
        min(_per_kit(part, part.units(*_PROGRESS[place:])) for part in parts)
        for place in range(len(_PROGRESS))
    ]
    here = (there - further for there, further in pairwise([*reached, 0]))
    return {bucket: kits for bucket, kits in zip(_PROGRESS, here, strict=True) if kits}


def _parts(line_id: str, kits: int, kit: Kit, names: Iterable[str]) -> tuple[Units, ...]:
    """
    The units of so many kits, on lines `{line_id}/1` and so on. Where another line is named like
    that, the stroke is doubled.
    """
    stem = f"{line_id}/"
    while any(name.startswith(stem) for name in names):
        stem += "/"
    return tuple(
        Units(
            line_id=f"{stem}{number}",
            sku=component.sku,
            quantity=kits * component.quantity,
            kit=PartOf(
                line_id=line_id,
                sku=kit.sku,
                kits=kits,
                per_kit=component.quantity,
                together=kit.together,
            ),
        )
        for number, component in enumerate(kit.components, 1)
    )


def _quantities(units: Mapping[str, int]) -> tuple[LineQuantity, ...]:
    return tuple(LineQuantity(line_id=line, quantity=n) for line, n in units.items() if n)


def _whole(lines: Iterable[LineState], units: Mapping[str, int]) -> dict[str, int]:
    """How many whole kits of each kit's line these units make."""
    whole: dict[str, int] = {}
    for line in lines:
        if line.kit is not None:
            kits = _per_kit(line, units.get(line.line_id, 0))
            whole[line.kit.line_id] = min(whole.get(line.kit.line_id, kits), kits)
    return whole


def _per_kit(line: LineState, units: int) -> int:
    return units // line.kit.per_kit if line.kit else units
