"""
Why not from there: what it would have cost, and the smallest change with which it would have won.

Nothing is guessed. Each cost is another solve of the same problem; each change is applied to it and
solved again before it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal

from domain.sourcing.allowance import Spent, allowed
from domain.sourcing.build import not_by, options_of
from domain.sourcing.comparing import by_services, what_counts
from domain.sourcing.problem import Candidate, Plan, Problem, ServiceOption
from domain.sourcing.record import Record
from domain.sourcing.rulings import Ruling, speaks_of
from domain.sourcing.solver import best_with, passes, passes_with
from domain.sourcing.steps import Step, applied, lever, of
from domain.sourcing.words import count, money, reworded
from domain.values import Value

Standing = Literal["chosen", "unchosen", "eliminated"]
MOST_WORK: Final = 30.0  # of one question, in CP-SAT's deterministic time: about as many seconds
MOST_RULES: Final = 20  # of one problem, that are tried one after the other
DOUBLINGS: Final = 12  # of what a package costs less, where the gap alone does not do
# Reasons that go with what the node lacks: another step says it.
FOLLOWS: Final = frozenset({"no stock of any line", "no capacity left today"})


class Counterfactual(Value):
    """
    What it would have taken for the node to be in the plan.

    `assumed` is what must be otherwise for it to be able to serve at all; `cost_minor` is then the
    best plan with a package from it (None: there is none); it serves `more_units` and costs
    `gap_minor` more than the best plan without it (less than 0 where priorities or weights count
    for more than money). `change` is the smallest: applied, the node wins. `others` are changes of
    other sorts that do as well.
    """

    node: str
    standing: Standing
    reason: str = ""
    assumed: tuple[Step, ...] = ()
    plan: Plan | None = None
    cost_minor: int | None = None
    gap_minor: int | None = None
    more_units: int = 0
    change: tuple[Step, ...] = ()
    others: tuple[tuple[Step, ...], ...] = ()
    text: str


def why(record: Record, node: str) -> Counterfactual:
    """
    Raises KeyError where the decision knows no such node. Blocks for some tens of solves; where
    they take more work than is allowed, it says so and nothing else.
    """
    try:
        with allowed(MOST_WORK):
            return _why(record, node)
    except Spent:
        reason = record.decision.eliminated.get(node, "")
        told = f"{node} is not in the plan: {reworded(reason)}."
        text = f"{told} What it would have cost takes more work to find than an answer may take."
        return Counterfactual(node=node, standing="eliminated", reason=reason, text=text)


def _why(record: Record, node: str) -> Counterfactual:
    decision = record.decision
    problem, plan = decision.problem, decision.plan
    currency = problem.currency
    if node in _nodes(plan):
        return Counterfactual(
            node=node,
            standing="chosen",
            plan=plan,
            cost_minor=plan.cost.total,
            gap_minor=0,
            text=f"{node} is in the plan, which costs {money(plan.cost.total, currency)}.",
        )
    of(problem, node)
    case = _Case(record, node)
    assumed = case.assumed()
    reason = decision.eliminated.get(node, "")
    standing: Standing = "eliminated" if assumed else "unchosen"
    admitted = applied(problem, node, assumed)
    best = best_with(admitted, node)
    if best is None:
        out = f"{node} was left out: {reworded(reason)}."
        none = f"{out} No change of what is recorded would let it serve."
        return Counterfactual(node=node, standing="eliminated", reason=reason, text=none)
    other = _without(admitted, node)[-1]
    changes = case.changes(assumed)
    found = Counterfactual(
        node=node,
        standing=standing,
        reason=reason,
        assumed=assumed,
        plan=best,
        cost_minor=best.cost.total,
        gap_minor=best.cost.total - other.cost.total,
        more_units=other.worth[0] - best.worth[0],
        change=changes[0] if changes else (),
        others=tuple(changes[1:]),
        text="",
    )
    goes = by_services(record, (a for a in best.assignments if a.node == node))
    compared = _compared(found, currency, by_services(record, other.assignments))
    compared += "" if found.more_units else _beside(admitted, best, other)
    return found.model_copy(update={"text": _told(found, currency, goes, compared)})


def wins(problem: Problem, node: str) -> bool:
    """
    Whether the node is in the plan, and every plan without it is worse, pass by pass.

    Where locations have priorities, ranks are of the nodes that there are: plans without the node
    do not compare, and being in the plan is all.
    """
    plans = passes(problem)
    if node not in _nodes(plans[-1]):
        return False
    ranked = any(rule.kind == "location_priority" for rule in problem.policy.constraints)
    return ranked or _worth(plans) < _worth(_without(problem, node))


def services(record: Record, node: str) -> tuple[ServiceOption, ...]:
    """All services of the node, also where it was out; else those that the problem has."""
    problem, seen = record.decision.problem, record.seen
    kept = next((c.options for c in problem.candidates if c.node == node), ())
    known = next((n for n in seen.nodes if n.code == node), None) if seen else None
    if seen is None or known is None:
        return kept
    found = options_of(
        known,
        seen.rate_cards,
        seen.ship_to,
        method=seen.method,
        as_of=problem.as_of,
        promise_by=problem.promise_by,
    )
    named = {option.service for option in kept}
    return (*kept, *(option for option in found if option.service not in named))


class _Case:
    """One node that is not in the plan, and what could be otherwise about it."""

    def __init__(self, record: Record, node: str) -> None:
        self._record, self._problem, self._node = record, record.decision.problem, node

    def assumed(self) -> tuple[Step, ...]:
        """The fewest of all possible steps with which the node can be used; without a cost."""
        if self._usable(()):
            return ()
        steps = list(self._possible())
        for step in steps:
            if self._usable([step]):
                return (step,)
        taken: list[Step] = []
        for step in steps:
            taken.append(step)
            if self._usable(taken):
                break
        return self._needed(taken, self._usable)

    def changes(self, assumed: tuple[Step, ...]) -> list[tuple[Step, ...]]:
        """What makes it win; the smallest of each sort, in the order in which they are told."""
        found: list[tuple[Step, ...]] = []
        promise = self._record.decision.promise
        if not assumed and promise and promise.kept and self._wins(()):
            found.append((Step(kind="anew", text="it had been decided anew, without the promise"),))
        elif assumed and self._wins(assumed):
            found.append(self._least(self._needed(assumed, self._wins)))
        elif cheaper := self._cheaper(assumed):
            found.append(self._least(cheaper))
        else:
            found += self._unruled(assumed)
        taken = {step.kind for step in assumed}
        for step in self._possible():
            other = step.kind in {"stock", "limit", "rule"} and step.kind not in taken
            if other and self._wins(steps := (*assumed, step)):
                found.append(self._least(self._needed(steps, self._wins)))
        return [change for n, change in enumerate(found) if change not in found[:n]]

    def _unruled(self, assumed: tuple[Step, ...]) -> list[tuple[Step, ...]]:
        """Where no price would do: the first rule without which one does; else the fewest."""
        rules = tuple(step for step in self._possible() if step.kind == "rule")
        for step in rules:
            if self._wins((*assumed, step)):
                return [self._least(self._needed((*assumed, step), self._wins))]
            if found := self._cheaper((*assumed, step)):
                return [self._least(found)]
        if found := self._cheaper((*assumed, *rules)):
            kept = self._needed(found, self._wins)
            return [self._least(kept)]
        return []

    def _possible(self) -> Iterator[Step]:
        """Each sort at its largest."""
        problem, candidate = self._problem, of(self._problem, self._node)
        options = candidate.options or services(self._record, self._node)
        if candidate.eliminated is not None:
            bare = candidate.eliminated in FOLLOWS
            text = "" if bare else f"it had not been out ({self._barred(candidate.eliminated)})"
            yield Step(kind="open", text=text, options=() if candidate.options else options)
        if not options and (far := _farthest(problem)):
            miles = count(far.miles, "mile", "miles")
            text = f"it had been no farther than {far.node} ({miles})"
            yield Step(kind="reach", text=text, options=far.options)
        elif not candidate.options and candidate.eliminated is None:
            yield Step(kind="reach", text="a service had gone there", options=options)
        needs = sorted({need for demand in problem.demands for need in demand.needs})
        if needs and any(option.offers is not None for option in options):
            text = f"its services had carried {', '.join(needs)} goods"
            yield Step(kind="carry", text=text)
        units = sum(demand.quantity for demand in problem.demands)
        room = units if candidate.units_left is None else candidate.units_left
        if candidate.capacity_left == 0 or room < units:
            yield Step(kind="capacity", text="it had had room for the order that day")
        if lacking := _lacking(problem, candidate):
            yield _stock(lacking)
        if problem.max_nodes is not None:
            most = count(problem.max_nodes, "node", "nodes")
            text = f"the order might have come from more than {most}"
            yield Step(kind="limit", text=text)
        for rule in _rules(problem)[:MOST_RULES]:
            yield Step(kind="rule", text=f"there had been no rule {rule}", rule=rule)

    def _barred(self, reason: str) -> str:
        """The reason that is recorded, and what would bar the node if that did not."""
        seen = self._record.seen
        node = next((n for n in seen.nodes if n.code == self._node), None) if seen else None
        if seen is None or node is None:
            return reason
        also = ["offline" if node.status == "offline" else None, not_by(node, seen.method)]
        return "; ".join(dict.fromkeys([reason, *filter(None, also)]))

    def _cheaper(self, steps: tuple[Step, ...]) -> tuple[Step, ...] | None:
        """
        With by how much it loses, and one more: no plan without it is as good then. Where two
        passes ask for more than that, or it takes less, with the least that does; None where no
        price does.
        """
        problem = applied(self._problem, self._node, steps)
        ours, others = passes_with(problem, self._node), _without(problem, self._node)
        part, each = lever(problem)
        if ours is None:
            return None
        less = "counted {} less, preferred by that much" if part == "preference" else "cost {} less"
        gaps = [a.objective - b.objective for a, b in zip(ours, others, strict=False)]
        guess = max(0, *gaps) // each + 1

        def cut(minor: int) -> tuple[Step, ...]:
            said = less.format(money(minor, problem.currency))
            text = f"a package from it had {said}"
            return (*steps, Step(kind="cost", text=text, minor=minor))

        if self._wins(cut(guess)):
            if guess == 1 or not self._wins(cut(guess - 1)):
                return cut(guess)
            low, high = 0, guess - 1
        else:
            more = (guess << n for n in range(1, DOUBLINGS) if self._wins(cut(guess << n)))
            high = next(more, 0)
            if not high:
                return None
            low = high // 2
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._wins(cut(middle)) else (middle, high)
        return cut(high)

    def _needed(
        self, steps: Sequence[Step], enough: Callable[[Sequence[Step]], bool]
    ) -> tuple[Step, ...]:
        """Without those that are not needed."""
        kept = list(steps)
        for step in steps:
            rest = [other for other in kept if other is not step]
            if enough(rest):
                kept = rest
        return tuple(kept)

    def _least(self, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """With no more units than it takes: more stock never makes a node lose."""
        for place, step in enumerate(steps):
            if step.kind != "stock":
                continue
            units = dict(step.units)
            for sku in sorted(units):
                low, high = 0, units[sku]
                while low < high:
                    middle = (low + high) // 2
                    tried = (*steps[:place], _stock(units | {sku: middle}), *steps[place + 1 :])
                    low, high = (low, middle) if self._wins(tried) else (middle + 1, high)
                units[sku] = high
            least = (_stock(units),) if any(units.values()) else ()
            return (*steps[:place], *least, *steps[place + 1 :])
        return steps

    def _usable(self, steps: Iterable[Step]) -> bool:
        return best_with(applied(self._problem, self._node, steps), self._node) is not None

    def _wins(self, steps: Iterable[Step]) -> bool:
        return wins(applied(self._problem, self._node, steps), self._node)


def _rules(problem: Problem) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rule.name for rule in problem.policy.constraints))


def _lacking(problem: Problem, candidate: Candidate) -> dict[str, int]:
    """How many units more the node would need to have all that is asked for, and what must stay."""
    wanted: dict[str, int] = {}
    stays: dict[str, int] = {}
    keep = [Ruling(rule) for rule in problem.policy.constraints if rule.kind == "min_stock"]
    for demand in problem.demands:
        sku = demand.sku
        wanted[sku] = wanted.get(sku, 0) + demand.quantity
        for rule in keep:
            if rule.names(candidate.node) and speaks_of(rule.rule, demand):
                stays[sku] = max(stays.get(sku, 0), rule.rule.value or 0)
    short = {
        sku: units + stays.get(sku, 0) - candidate.stock.get(sku, 0)
        for sku, units in sorted(wanted.items())
    }
    return {sku: units for sku, units in short.items() if units > 0}


def _stock(units: dict[str, int]) -> Step:
    some = {sku: n for sku, n in units.items() if n}
    said = " and ".join(f"{n} more of {sku}" for sku, n in some.items())
    return Step(kind="stock", text=f"it had had {said}", units=some)


def _farthest(problem: Problem) -> Candidate | None:
    """The candidate with services that is farthest: beyond it nobody knows a price."""
    reached = [c for c in problem.candidates if c.options]
    return max(reached, key=lambda c: (c.miles, c.node), default=None)


def _without(problem: Problem, node: str) -> tuple[Plan, ...]:
    rest = tuple(c for c in problem.candidates if c.node != node)
    return passes(problem.model_copy(update={"candidates": rest}))


def _worth(plans: Sequence[Plan]) -> tuple[tuple[int, int, int], ...]:
    return tuple(plan.worth for plan in plans)


def _nodes(plan: Plan) -> set[str]:
    return {assignment.node for assignment in plan.assignments}


def _beside(problem: Problem, best: Plan, other: Plan) -> str:
    """What to say where plans are not compared by their money alone, and that alone misleads."""
    gap, better = best.cost.total - other.cost.total, best.worth < other.worth
    if (gap > 0 and better) or (gap < 0 and not better):
        return f", but {what_counts(problem, best, other) or 'something else counts for more'}"
    _, each = lever(problem)
    against = best.rank > other.rank or best.objective - other.objective > gap * each
    if better or not against:
        return ""
    return f", and {what_counts(problem, best, other, each) or 'something else counts against it'}"


def _told(found: Counterfactual, currency: str, goes: str, compared: str) -> str:
    costs = f"the best plan with it{goes} {{}} {money(found.cost_minor or 0, currency)}, {compared}"
    if not found.assumed:
        told = f"{found.node} was not chosen: {costs.format('costs')}."
    else:
        assumed = _joined(found.assumed)
        told = f"{found.node} was left out: {reworded(found.reason)}. If {assumed}, "
        told += costs.format("would cost")
        told += ", and it would have been chosen." if found.change == found.assumed else "."
    changes = (found.change, *found.others)
    said = "; or if ".join(_joined(one) for one in changes if one and one != found.assumed)
    if not said:
        return told
    also = " also" if found.change == found.assumed else ""
    return f"{told} It would{also} have been chosen if {said}."


def _joined(steps: Iterable[Step]) -> str:
    return " and ".join(step.text for step in steps if step.text)


def _compared(found: Counterfactual, currency: str, goes: str) -> str:
    """With the best plan without it, which goes by these services."""
    gap = found.gap_minor or 0
    if found.more_units:
        return f"and serves {count(found.more_units, 'unit', 'units')} more than any without it"
    if gap == 0:
        return f"the same as{goes} without it"
    if gap < 0:
        return f"{money(-gap, currency)} less than{goes} without it"
    return f"{money(gap, currency)} more than{goes} without it"
