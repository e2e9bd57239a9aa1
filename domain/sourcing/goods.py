"""What a sourcing problem asks for, over all its lines: units of items, and kits kept whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from domain.sourcing.problem import Candidate, Demand


@dataclass(frozen=True)
class Item:
    """Units of one SKU and weight, over all the lines that ask for it."""

    sku: str
    weight_g: int
    quantity: int


@dataclass(frozen=True)
class Bundle:
    """Kits of one line that leave whole: how many, and what each has of which items."""

    line_id: str
    sku: str
    kits: int
    needs: Mapping[int, int]


def items_of(demands: Sequence[Demand]) -> tuple[Item, ...]:
    totals: dict[tuple[str, int], int] = {}
    for demand in demands:
        key = (demand.sku, demand.weight_g)
        totals[key] = totals.get(key, 0) + demand.quantity
    return tuple(Item(sku, weight, quantity) for (sku, weight), quantity in totals.items())


def bundles_of(demands: Sequence[Demand], items: Sequence[Item]) -> tuple[Bundle, ...]:
    numbers = {(item.sku, item.weight_g): index for index, item in enumerate(items)}
    found: dict[str, Bundle] = {}
    for demand in demands:
        if (kit := demand.kit) is not None:
            need = {numbers[demand.sku, demand.weight_g]: kit.per_kit}
            known = found.get(kit.line_id)
            needs = {**known.needs, **need} if known else need
            found[kit.line_id] = Bundle(kit.line_id, kit.sku, kit.kits, needs)
    return tuple(found.values())


def in_kits(bundles: Sequence[Bundle], index: int, kits: Sequence[int]) -> int:
    """How many units of an item so many kits of each kind have."""
    return sum(b.needs.get(index, 0) * count for b, count in zip(bundles, kits, strict=True))


def kits_at(candidate: Candidate, items: Sequence[Item], bundle: Bundle) -> int:
    there = (candidate.stock.get(items[i].sku, 0) // need for i, need in bundle.needs.items())
    return min(bundle.kits, *there)


def no_whole_kit(
    candidate: Candidate, items: Sequence[Item], bundles: Sequence[Bundle]
) -> str | None:
    """Why a node that has no loose goods cannot serve; None where it has some kit whole."""
    if any(kits_at(candidate, items, bundle) for bundle in bundles):
        return None
    return f"has parts of kit {', '.join(sorted({b.sku for b in bundles}))}, and no whole one"
