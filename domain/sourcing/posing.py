"""Poses a problem to the solvers: rules become nodes that are out, items, bundles and limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from domain.sourcing.goods import Bundle, Item, Traits, bundles_of, in_kits, items_of
from domain.sourcing.policy import Kind
from domain.sourcing.problem import Candidate, Demand, Plan, Problem
from domain.sourcing.rulings import Ruling, bars, refused, speaks_of, together, unsplit
from domain.sourcing.search import Aboard, Limits, Question
from domain.sourcing.weighing import Weighing

BARRING: Final[frozenset[Kind]] = frozenset(
    {"exclude", "firm_node", "max_distance", "max_orders", "offline"}
)
LEAST_SHARED: Final = 10  # a package more outweighs any priorities: ranks are 1 to 10


def posed(problem: Problem, before: Plan | None = None) -> tuple[Question, dict[str, str]]:
    """
    What a solver is asked, and why each node that it is not asked about cannot serve.

    With the plan of the pass `before`, the second pass: soft rules are dropped, for the units that
    found no node; what has one stays as it is, and more goods may go with it.
    """
    return _Posing(problem, before).posed()


@dataclass(frozen=True)
class _Posing:
    """One problem while it is posed."""

    problem: Problem
    before: Plan | None

    def posed(self) -> tuple[Question, dict[str, str]]:
        items, bundles = self._items, self._bundles
        usable, free, eliminated = [], {}, {}
        for candidate in self.problem.candidates:
            reason, there = self._judged(candidate)
            if reason is None:
                usable.append(candidate)
                free[candidate.node] = there
            else:
                eliminated[candidate.node] = reason
        question = Question(
            problem=self.problem,
            weighing=Weighing(self.problem),
            demands=self._demands,
            items=items,
            bundles=bundles,
            usable=tuple(usable),
            free=free,
            room={c.node: left for c in usable if (left := self._room(c)) is not None},
            limits=self._limits(),
            rank=self._ranks(usable),
            apart=self._apart(usable),
            radius=max((r.rule.value or 0 for r in self._of("local_radius")), default=0),
            aboard=self._aboard,
        )
        return question, eliminated

    @cached_property
    def _rules(self) -> tuple[Ruling, ...]:
        kept = (r for r in self.problem.policy.constraints if self.before is None or not r.soft)
        return tuple(map(Ruling, kept))

    def _of(self, *kinds: Kind) -> list[Ruling]:
        return [rule for rule in self._rules if rule.rule.kind in kinds]

    @cached_property
    def _barring(self) -> list[Ruling]:
        return self._of(*BARRING)

    @cached_property
    def _priorities(self) -> list[Ruling]:
        return self._of("location_priority")

    @cached_property
    def _demands(self) -> tuple[Demand, ...]:
        if self.before is None:
            return self.problem.demands
        left = {line.line_id: line.quantity for line in self.before.unsourced}
        kits: dict[str, int] = {}
        for demand in self.problem.demands:
            if (kit := demand.kit) is not None:
                whole = left.get(demand.line_id, 0) // kit.per_kit
                kits[kit.line_id] = min(kits.get(kit.line_id, kit.kits), whole)
        return tuple(
            demand.model_copy(
                update={
                    "quantity": left[demand.line_id],
                    "kit": demand.kit.model_copy(update={"kits": kits[demand.kit.line_id]})
                    if demand.kit and kits[demand.kit.line_id]
                    else None,
                }
            )
            for demand in self.problem.demands
            if left.get(demand.line_id)
        )

    @cached_property
    def _groups(self) -> dict[str, str]:
        asked = self.problem.model_copy(update={"demands": self._demands})
        return together(asked, (rule.rule for rule in self._rules))

    @cached_property
    def _plain(self) -> bool:
        """Whether nothing keeps any node from any line."""
        return not (self.before or self._rules or any(demand.needs for demand in self._demands))

    @cached_property
    def _items(self) -> tuple[Item, ...]:
        if self._plain:
            return items_of(self._demands, {})
        return items_of(self._demands, {d.line_id: self._traits(d) for d in self._demands})

    @cached_property
    def _bundles(self) -> tuple[Bundle, ...]:
        return bundles_of(self._demands, self._items, self._groups)

    def _traits(self, demand: Demand) -> Traits:
        spoken = [rule.rule for rule in self._rules if speaks_of(rule.rule, demand)]
        needs = {rule.what for rule in spoken if rule.kind == "capability"} | set(demand.needs)
        whole = any(rule.kind == "ship_complete_lines" for rule in spoken)
        sold = demand.kit.line_id if demand.kit else demand.line_id
        return Traits(
            price_minor=demand.price_minor if self._of("value_floor") else 0,
            needs=tuple(sorted(needs)),
            alone=any(rule.kind == "ship_alone" for rule in spoken),
            held=refused(spoken, demand),
            own=self._groups.get(demand.line_id, f"line {sold}" if whole else ""),
            out=tuple(
                number
                for number, rule in enumerate(self._barring)
                if rule.rule.lines is not None and speaks_of(rule.rule, demand)
            ),
        )

    def _limits(self) -> Limits:
        single = any(unsplit(self.problem, rule.rule) for rule in self._of("never_split"))
        nodes = _least(rule.rule.value for rule in self._of("max_nodes"))
        nodes = _least([nodes, self.problem.max_nodes, 1 if single else None])
        cartons = _least(rule.rule.value for rule in self._of("max_packages"))
        if self.before is not None:
            sent = self.before.assignments
            nodes = None if nodes is None else max(0, nodes - len(sent))
            cartons = None if cartons is None else max(0, cartons - sum(a.cartons for a in sent))
        return Limits(
            nodes=nodes,
            cartons=cartons,
            floor=max((rule.rule.value or 0 for rule in self._of("value_floor")), default=0),
            everything=single or bool(self._of("ship_complete_order")),
            whole=self._whole(),
        )

    def _whole(self) -> tuple[tuple[int, ...], ...]:
        lines: dict[str, list[int]] = {}
        for index, item in enumerate(self._items):
            if self._of("ship_complete_lines") and item.traits.own.startswith("line "):
                lines.setdefault(item.traits.own, []).append(index)
        return tuple(tuple(indexes) for indexes in lines.values())

    def _ranks(self, usable: Sequence[Candidate]) -> Mapping[str, int]:
        """Fewest packages first, then the lowest sum of priorities."""
        if not self._priorities:
            return {}
        most = min(len(usable), sum(item.quantity for item in self._items))
        package = LEAST_SHARED * most + 1
        return {
            c.node: package + min(r.rule.value or 0 for r in self._priorities if r.names(c.node))
            for c in usable
        }

    def _apart(self, usable: Sequence[Candidate]) -> Mapping[str, int]:
        preferred = self._of("preferred_node")
        if not preferred:
            return {}
        return {
            c.node: sum(r.rule.value or 0 for r in preferred if not r.names(c.node)) for c in usable
        }

    def _judged(  # noqa: PLR0911  # one for each reason
        self, candidate: Candidate
    ) -> tuple[str | None, Sequence[int]]:
        """Why the node cannot serve anything, if so; and its free units by item."""
        if candidate.eliminated is not None:
            return candidate.eliminated, ()
        if self._plain:
            stock = candidate.stock
            free, why = [stock.get(sku, 0) for sku in self._skus], "no stock of any line"
        else:
            against = self._against(candidate)
            for number, reason in against.items():
                if self._barring[number].rule.lines is None:
                    return reason, ()
            if self._priorities and not any(r.names(candidate.node) for r in self._priorities):
                return f"rule {self._priorities[0].rule.name}: the node has no priority", ()
            free, why = self._free(candidate, against)
        if not any(free):
            return why, ()
        if self._bundles and (no_kit := self._no_whole_kit(free)) is not None:
            return no_kit, ()
        left = candidate.capacity_left
        full = left is not None and left <= 0 and candidate.node not in self._aboard
        if full or self._room(candidate) == 0:
            return "no capacity left today", ()
        if not candidate.options:
            return "no service reaches the destination", ()
        return None, free

    def _room(self, candidate: Candidate) -> int | None:
        """How many units more it can send today; None where that is not limited."""
        if candidate.units_left is None:
            return None
        taken = self._taken.get(candidate.node, {})
        return max(0, candidate.units_left - sum(taken.values()))

    def _against(self, candidate: Candidate) -> dict[int, str]:
        """By the number of each rule that keeps the node from something, the reason."""
        most = 0
        for rule in self._maxima:
            if rule.names(candidate.node):
                most = max(most, rule.rule.value or 0)
        found = {}
        for number, rule in enumerate(self._barring):
            told = bars(rule, candidate, most)
            if told is not None:
                found[number] = f"rule {rule.rule.name}: {told}"
        return found

    def _free(self, candidate: Candidate, against: Mapping[int, str]) -> tuple[list[int], str]:
        """Units that may be taken, by item; and the last reason for which some may not."""
        node, stock, reason = candidate.node, candidate.stock, "no stock of any line"
        free = [stock.get(sku, 0) for sku in self._skus]
        if taken := self._taken.get(node):
            free = [units - taken.get(sku, 0) for sku, units in zip(self._skus, free, strict=True)]
        kept: dict[str, int] = {}
        for rule, skus in self._minima:
            if rule.names(node):
                least = rule.rule.value or 0
                reason = f"rule {rule.rule.name}: {least} units stay there"
                kept.update((sku, max(least, kept.get(sku, 0))) for sku in skus)
        if kept:
            free = [units - kept.get(sku, 0) for sku, units in zip(self._skus, free, strict=True)]
        barred = self._barred_by_service(candidate) if self._needy else frozenset()
        for index in self._special:
            traits = self._items[index].traits
            out = [against[number] for number in traits.out if number in against]
            if free[index] > 0 and (out or traits.held or index in barred):
                free[index] = 0
                held = f"rule {traits.held}: rejected too often"
                needs = f"no service for {', '.join(traits.needs)}"
                reason = out[0] if out else held if traits.held else needs
        return [max(0, units) for units in free], reason

    @cached_property
    def _maxima(self) -> list[Ruling]:
        return self._of("max_orders")

    @cached_property
    def _minima(self) -> list[tuple[Ruling, frozenset[str]]]:
        """The rules by which units stay at nodes, the lowest first, each with its goods."""
        rules = sorted(self._of("min_stock"), key=lambda rule: rule.rule.value or 0)
        demands = self.problem.demands
        return [(r, frozenset(d.sku for d in demands if speaks_of(r.rule, d))) for r in rules]

    @cached_property
    def _special(self) -> list[int]:
        """The items that some nodes may not send, though they have units."""
        items = enumerate(self._items)
        return [i for i, x in items if x.traits.out or x.traits.held or x.traits.needs]

    @cached_property
    def _needy(self) -> list[int]:
        return [index for index, item in enumerate(self._items) if item.traits.needs]

    def _barred_by_service(self, candidate: Candidate) -> frozenset[int]:
        """The items that no service from there can carry."""
        if not candidate.options:
            return frozenset()
        there = self._aboard.get(candidate.node)
        options = (there.option,) if there else candidate.options
        return frozenset(
            index
            for index in self._needy
            if not any(
                o.offers is None or set(self._items[index].traits.needs) <= set(o.offers)
                for o in options
            )
        )

    def _no_whole_kit(self, free: Sequence[int]) -> str | None:
        """Why a node that has no loose goods cannot serve; None where it has some kit whole."""
        for index, item in enumerate(self._items):
            if free[index] and item.quantity > in_kits(self._bundles, index, self._kits):
                return None
        for bundle in self._bundles:
            if all(free[index] >= need for index, need in bundle.needs.items()):
                return None
        return f"has parts of {self._named}, and no whole one"

    @cached_property
    def _skus(self) -> list[str]:
        return [item.sku for item in self._items]

    @cached_property
    def _kits(self) -> list[int]:
        return [bundle.kits for bundle in self._bundles]

    @cached_property
    def _named(self) -> str:
        kits = sorted({bundle.sku for bundle in self._bundles if bundle.sku})
        groups = sorted({bundle.line_id for bundle in self._bundles if not bundle.sku})
        said = [f"kit {', '.join(kits)}"] if kits else []
        said += [f"what is kept together with {', '.join(groups)}"] if groups else []
        return " and ".join(said)

    @cached_property
    def _taken(self) -> dict[str, dict[str, int]]:
        """By node and SKU the units that found it in the pass before."""
        skus = {demand.line_id: demand.sku for demand in self.problem.demands}
        taken: dict[str, dict[str, int]] = {}
        for sent in self.before.assignments if self.before else ():
            shelf = taken.setdefault(sent.node, {})
            for line in sent.lines:
                sku = skus[line.line_id]
                shelf[sku] = shelf.get(sku, 0) + line.quantity
        return taken

    @cached_property
    def _aboard(self) -> dict[str, Aboard]:
        demands = {demand.line_id: demand for demand in self.problem.demands}
        nodes = {c.node: c for c in self.problem.candidates} if self.before else {}
        alone = [r for r in self.problem.policy.constraints if r.kind == "ship_alone"]
        found = {}
        for sent in self.before.assignments if self.before else ():
            packed = [
                (demands[line.line_id], line.quantity)
                for line in sent.lines
                if not any(speaks_of(rule, demands[line.line_id]) for rule in alone)
            ]
            grams = sum(demand.weight_g * units for demand, units in packed)
            volume = sum(demand.volume_mm3 * units for demand, units in packed)
            option = next(
                option
                for option in nodes[sent.node].options
                if (option.service, option.carrier) == (sent.service, sent.carrier)
            )
            skus = frozenset(demands[line.line_id].sku for line in sent.lines)
            found[sent.node] = Aboard(option, (grams, volume) if packed else None, skus)
        return found


def _least(values: Iterable[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)
