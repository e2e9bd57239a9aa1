"""What a sourcing problem asks for, over all its lines: units of items, and what is kept whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from domain.sourcing.problem import Demand


class Traits(NamedTuple):
    """
    What rules make of a line, beyond what its goods are: units of lines with other traits are other
    items. `own` names the group or the line that they are counted by, if any; `out` are the numbers
    of the rules that keep some nodes from it.
    """

    price_minor: int = 0
    needs: tuple[str, ...] = ()
    alone: bool = False
    held: str = ""
    own: str = ""
    out: tuple[int, ...] = ()


@dataclass(frozen=True)
class Item:
    """Units of the same goods with the same traits, over all the `lines` that ask for them."""

    sku: str
    weight_g: int
    volume_mm3: int
    traits: Traits
    quantity: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Bundle:
    """
    What leaves whole: the kits of a line, or a group of lines that is kept together, once. Such a
    group has no `sku`.

    How many of them, what each has of which items, and how many units of which line.
    """

    line_id: str
    sku: str
    kits: int
    needs: Mapping[int, int]
    lines: Mapping[str, int]


def items_of(demands: Sequence[Demand], traits: Mapping[str, Traits]) -> tuple[Item, ...]:
    """One trait for each line id; lines without one have none."""
    asked: dict[tuple[str, int, int, Traits], list[Demand]] = {}
    for demand in demands:
        marks = traits.get(demand.line_id, _PLAIN)
        asked.setdefault((demand.sku, demand.weight_g, demand.volume_mm3, marks), []).append(demand)
    return tuple(
        Item(*goods, sum(d.quantity for d in some), tuple(d.line_id for d in some))
        for goods, some in asked.items()
    )


_PLAIN = Traits()


def bundles_of(
    demands: Sequence[Demand], items: Sequence[Item], groups: Mapping[str, str]
) -> tuple[Bundle, ...]:
    """`groups` names the group of each line that is kept together with others, or by itself."""
    number = {line_id: index for index, item in enumerate(items) for line_id in item.lines}
    found: dict[tuple[str, bool], Bundle] = {}
    for demand in demands:
        group, kit = groups.get(demand.line_id), demand.kit
        if group is not None:
            key, fresh, each = (group, True), Bundle(group, "", 1, {}, {}), demand.quantity
        elif kit is not None:
            key, fresh = (kit.line_id, False), Bundle(kit.line_id, kit.sku, kit.kits, {}, {})
            each = kit.per_kit
        else:
            continue
        known, index = found.get(key, fresh), number[demand.line_id]
        needs = {**known.needs, index: known.needs.get(index, 0) + each}
        lines = {**known.lines, demand.line_id: each}
        found[key] = replace(known, needs=needs, lines=lines)
    return tuple(found.values())


def in_kits(bundles: Sequence[Bundle], index: int, kits: Sequence[int]) -> int:
    """How many units of an item so many kits of each kind have."""
    return sum(b.needs.get(index, 0) * count for b, count in zip(bundles, kits, strict=True))
