"""Whether it pays to source anew what has its plan: alone, or together with those it depends on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from domain.fulfillments import Fulfillment
from domain.sourcing.policy import PREFERENCES
from domain.sourcing.problem import Candidate, Plan, Problem
from domain.sourcing.solver import cheapest_plan
from domain.sourcing.together import Takes

# Of the rules those that a plan's worth depends on; whether it may be so is settled.
_COUNTS: Final = frozenset({*PREFERENCES, "ship_alone", "location_priority"})
_ELSEWHERE: Final = "not in the plan as it is"
_THOUSANDTHS: Final = 1000


class Chance(NamedTuple):
    """
    An order: its problem with all that is looked at given back, its plan as it is (None: it cannot
    be compared, and stays) and what it holds by it, the plan that it could have, and by how many
    minor units that must be better.
    """

    problem: Problem
    before: Plan | None
    holds: Takes
    after: Plan
    price: int

    @property
    def takes(self) -> Takes:
        return Takes.of_plan(self.problem, self.after)

    @property
    def saves(self) -> int:
        """In thousandths of a minor unit; less than 0 where it is to make room."""
        return self.before.objective - self.after.objective if self.before else 0

    @property
    def moves(self) -> bool:
        return self.before is None or _ways(self.before) != _ways(self.after)


def as_it_is(problem: Problem, shares: Sequence[Fulfillment]) -> Plan | None:
    """
    What these packages are worth in the problem; None where not all of them could leave so today.
    They are for what it demands. Exact: nothing else is left to choose.
    """
    held = holds(shares)
    services = {share.node: share.service for share in shares}
    only = problem.model_copy(
        update={
            "candidates": tuple(_only(c, services, held) for c in problem.candidates),
            "policy": problem.policy.model_copy(
                update={
                    "constraints": tuple(
                        rule for rule in problem.policy.constraints if rule.kind in _COUNTS
                    )
                }
            ),
        }
    )
    plan = cheapest_plan(only)
    return None if plan.unsourced or len(shares) > len(services) else plan


def holds(shares: Iterable[Fulfillment]) -> Takes:
    stock: Counter[tuple[str, str]] = Counter()
    for share in shares:
        for line in share.remaining():
            stock[share.node, share.skus[line.line_id]] += line.quantity
    return Takes.of(stock)


def worth_moving(chances: Sequence[Chance]) -> set[int]:
    """
    Those that are to be sourced anew, by their numbers.

    One that takes what there would be without it moves where that saves more than its price. Where
    several want what others are to leave, all of them move or none: if together they save more than
    all their prices.
    """
    moving = [number for number, chance in enumerate(chances) if chance.moves]
    return {n for group in _groups(chances, moving) if _pays(chances, group) for n in group}


def _only(candidate: Candidate, services: Mapping[str, str], held: Takes) -> Candidate:
    node = candidate.node
    if node not in services:
        return candidate.model_copy(update={"eliminated": _ELSEWHERE, "options": ()})
    options = tuple(o for o in candidate.options if o.service == services[node])
    stock = {sku: units for (at, sku), units in held.stock.items() if at == node}
    enough = all(candidate.stock.get(sku, 0) >= units for sku, units in stock.items())
    out = candidate.eliminated or (None if options and enough else _ELSEWHERE)
    return candidate.model_copy(update={"stock": stock, "options": options, "eliminated": out})


def _ways(plan: Plan) -> set[tuple[object, ...]]:
    return {(a.node, a.service, a.lines) for a in plan.assignments}


def _pays(chances: Sequence[Chance], group: Sequence[int]) -> bool:
    saves = price = 0
    for number in group:
        chance = chances[number]
        before, after = chance.before, chance.after
        if before is None or after.unsourced:
            return False
        if _rank(chance.problem, after) > _rank(chance.problem, before):
            return False
        saves += chance.saves
        price += chance.price * _THOUSANDTHS
    return saves > price


def _rank(problem: Problem, plan: Plan) -> tuple[int, int]:
    """
    Fewest packages first, then priorities, where locations have any: as `Plan.rank`, which is of
    the nodes that there were to choose from.
    """
    rules = [rule for rule in problem.policy.constraints if rule.kind == "location_priority"]
    if not rules:
        return 0, 0
    found = (
        min((r.value or 0 for r in rules if r.nodes is None or a.node in r.nodes), default=0)
        for a in plan.assignments
    )
    return len(plan.assignments), sum(found)


def _groups(chances: Sequence[Chance], moving: Sequence[int]) -> list[list[int]]:
    """Those that move, together with whom they could not move without."""
    root = {number: number for number in moving}

    def of(number: int) -> int:
        while root[number] != number:
            number = root[number]
        return number

    for some in _contested(chances, moving):
        for number in some[1:]:
            root[of(number)] = of(some[0])
    groups: dict[int, list[int]] = {}
    for number in moving:
        groups.setdefault(of(number), []).append(number)
    return list(groups.values())


def _contested(chances: Sequence[Chance], moving: Sequence[int]) -> list[list[int]]:
    """Of each shelf, and each node's day, that has not enough for who comes: who comes and goes."""
    there: dict[Hashable, int] = {}
    held: Counter[Hashable] = Counter()
    for chance in chances:
        held.update(_cells(chance.holds))
        for candidate in chance.problem.candidates:
            there |= _room(candidate, there)
    comes: Counter[Hashable] = Counter()
    who: dict[Hashable, list[int]] = {}
    for number in moving:
        before, after = _cells(chances[number].holds), _cells(chances[number].takes)
        for cell in before.keys() | after.keys():
            if before[cell] != after[cell]:
                who.setdefault(cell, []).append(number)
                comes[cell] += max(0, after[cell] - before[cell])
    return [
        some
        for cell, some in sorted(who.items(), key=repr)
        if cell in there and comes[cell] > there[cell] - held[cell]
    ]


def _cells(takes: Takes) -> Counter[Hashable]:
    cells: Counter[Hashable] = Counter(takes.stock)
    cells.update({("place", node, ""): count for node, count in takes.packages.items()})
    cells.update({("units", node, ""): count for node, count in takes.units.items()})
    return cells


def _room(candidate: Candidate, there: Mapping[Hashable, int]) -> dict[Hashable, int]:
    node = candidate.node
    room: dict[Hashable, int] = {
        (node, sku): max(units, there.get((node, sku), 0)) for sku, units in candidate.stock.items()
    }
    if candidate.capacity_left is not None:
        room["place", node, ""] = candidate.capacity_left
    if candidate.units_left is not None:
        room["units", node, ""] = candidate.units_left
    return room
