"""Judges one order by a rule set: the profile that it matches, the policy, and what then."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import product
from typing import Final, Literal, NamedTuple

from domain.orders import Order
from domain.rules.conditions import Condition, Facts, Flawed, condition
from domain.rules.facts import FIELDS, SCOPES, Case, Fact, Scope, worth
from domain.rules.sets import STABILITY_MINOR, Outcome, Profile, Rule, Version
from domain.sourcing.policy import Constraint, Policy
from domain.values import Value

MOST_EVALUATIONS: Final = 200_000

_TOO_MANY: Final = f"more than {MOST_EVALUATIONS} evaluations for one order"

State = Literal["met", "not_met", "error", "not_now"]


class Told(Value):
    """
    What became of one condition. `nodes` and `lines` are those for which it is met, None where it
    does not speak of them. `error` is the first that was met with, if any.
    """

    name: str
    when: str
    state: State
    nodes: tuple[str, ...] | None = None
    lines: tuple[str, ...] | None = None
    error: str = ""


class Judged(Value):
    """
    What a rule set says about an order. `policy` is what the plan is made by; `review`: it waits
    for approval; `release_after`, `retry_after` and `stability_minor` are its profile's. `partial`
    and `nothing` are what happens where some units, or all, find no node.
    """

    profile: str
    policy: Policy
    review: bool
    release_after: timedelta | None = None
    retry_after: timedelta | None = None
    stability_minor: int = STABILITY_MINOR
    partial: Outcome
    nothing: Outcome
    told: tuple[Told, ...] = ()


def choose(active: Iterable[Version], order: Order, now: datetime) -> Version | None:
    """The one set that the order comes to; None: the built-in policy holds."""
    for version in active:
        rules = version.rules
        if rules.entry and rules.dates.has(rules.day(now)) and _profile(version, order):
            return version
    return None


def evaluate(version: Version, case: Case) -> Judged | None:
    """
    Each condition is evaluated over the order, and where it speaks of them over its lines and the
    nodes; None where no profile matches. The same case is judged the same, whatever the order of
    nodes; whatever goes wrong in a condition is told and counts as not met, or as its rule says.
    """
    profile = _profile(version, case.order)
    if profile is None:
        return None
    bench = _Bench(case)
    constraints: list[Constraint] = []
    told: list[Told] = []
    day = version.rules.day(case.now)
    for rule in profile.rules:
        if not rule.dates.has(day):
            told.append(Told(name=rule.name, when=rule.when, state="not_now"))
            continue
        made, said = bench.of(rule)
        constraints += made
        told.append(said)
    outcomes = {}
    for name, several in profile.outcomes.named():
        outcomes[name], said_of = bench.first(several, name)
        told += said_of
    return Judged(
        profile=profile.name,
        policy=Policy(
            rules=version.label,
            profile=profile.objective,
            weights=profile.weighed(),
            constraints=tuple(constraints),
        ),
        review=profile.review,
        release_after=profile.release_after,
        retry_after=profile.retry_after,
        stability_minor=profile.stability_minor,
        partial=outcomes["partial"],
        nothing=outcomes["nothing"],
        told=tuple(told),
    )


def _profile(version: Version, order: Order) -> Profile | None:
    return version.rules.profile(order.channel, order.method, order.segment)


class _Group(NamedTuple):
    """
    Lines and nodes that a condition cannot tell apart, by their places in the case. What is `known`
    of them is None where there are more such groups than may be asked about.
    """

    known: Facts | None
    lines: Sequence[int]
    nodes: Sequence[int]


# By the first place of lines that are alike: these lines, and the places of the nodes.
_Met = dict[int, tuple[Sequence[int], set[int]]]


class _Bench:
    """
    Evaluates conditions over one case.

    Lines, and nodes, that are equal in all that a condition reads are asked once for all of them;
    what they are equal in is found once for all conditions that read the same.
    """

    def __init__(self, case: Case) -> None:
        self._case = case
        self._nodes = sorted(case.snapshot.nodes, key=lambda node: node.code)
        self._left = MOST_EVALUATIONS
        self._columns: dict[str, Sequence[Fact]] = {}
        self._groups: dict[frozenset[str], Sequence[_Group]] = {}

    def of(self, rule: Rule) -> tuple[list[Constraint], Told]:
        """The constraints that a rule makes of this case, and what became of its condition."""
        small = rule.value if rule.kind == "never_split" else None
        if small is not None and worth(self._case) >= small:  # also what left
            return [], Told(name=rule.name, when=rule.when, state="not_met")
        if not rule.when:
            return [_constraint(rule, None, None)], Told(name=rule.name, when="", state="met")
        asked = _understood(rule.when)
        if isinstance(asked, str):
            told = Told(name=rule.name, when=rule.when, state="error", error=asked)
            return [], told
        met, error = self._met(asked, otherwise=rule.on_error == "apply")
        of_nodes, of_lines = asked.speaks_of("node"), asked.speaks_of("line")
        made = [
            _constraint(rule, nodes, lines)
            for nodes, lines in self._named(met, of_nodes=of_nodes, of_lines=of_lines)
        ]
        told = Told(
            name=rule.name,
            when=rule.when,
            state="met" if made else "error" if error else "not_met",
            nodes=_all(one.nodes for one in made) if of_nodes else None,
            lines=_all(one.lines for one in made) if of_lines else None,
            error=error,
        )
        return made, told

    def first(self, outcomes: Sequence[Outcome], name: str) -> tuple[Outcome, list[Told]]:
        """The first outcome whose condition is met; the last one has none."""
        told = []
        for number, outcome in enumerate(outcomes[:-1]):
            asked = _understood(outcome.when)
            met, error = (
                ({}, asked) if isinstance(asked, str) else self._met(asked, otherwise=False)
            )
            state: State = "met" if met else "error" if error else "not_met"
            here = f"{name}.{number}"
            told.append(Told(name=here, when=outcome.when, state=state, error=error))
            if met:
                return outcome, told
        last = Told(name=f"{name}.{len(outcomes) - 1}", when="", state="met")
        return outcomes[-1], [*told, last]

    def _met(self, asked: Condition, *, otherwise: bool) -> tuple[_Met, str]:
        """Where it is met, and what went wrong first, if anything did."""
        met: _Met = {}
        error = ""
        for group in self._grouped(asked.reads):
            holds: bool | str = _TOO_MANY
            if group.known is not None:
                self._left -= group.known.cost
                holds = asked.holds(group.known) if self._left >= 0 else _TOO_MANY
            if isinstance(holds, str):
                error = error or holds
                holds = otherwise
            if holds:
                met.setdefault(group.lines[0], (group.lines, set()))[1].update(group.nodes)
        return met, error

    def _named(
        self, met: _Met, *, of_nodes: bool, of_lines: bool
    ) -> Iterator[tuple[tuple[str, ...] | None, tuple[str, ...] | None]]:
        """Nodes and lines by name; lines of the same nodes together, in the order of the lines."""
        together: dict[frozenset[int], list[int]] = {}
        for first in sorted(met):
            lines, nodes = met[first]
            together.setdefault(frozenset(nodes), []).extend(lines)
        units = self._case.units
        for same, places in together.items():
            codes = tuple(self._nodes[i].code for i in sorted(same)) if of_nodes else None
            ids = dict.fromkeys(units[i].line_id for i in sorted(places)) if of_lines else None
            yield codes, None if ids is None else tuple(ids)

    def _grouped(self, reads: frozenset[str]) -> Sequence[_Group]:
        if reads not in self._groups:
            case, names = self._case, sorted(reads)
            by_line = list(self._apart("line", reads, case.units))
            by_node = list(self._apart("node", reads, self._nodes))
            if len(by_line) * len(by_node) > max(self._left, 1):
                lines = [place for _, places in by_line for place in places]
                return [_Group(None, lines, [i for _, places in by_node for i in places])]
            of_order = {f: self._column(f, (None,))[0] for f in names if SCOPES[f] == "order"}
            groups = []
            for (of_line, some), (of_node, nodes) in product(by_line, by_node):
                known = of_order | of_line | of_node
                groups.append(_Group(Facts({n: known[n] for n in names}), some, nodes))
            self._groups[reads] = groups
        return self._groups[reads]

    def _apart(
        self, scope: Scope, reads: frozenset[str], subjects: Sequence[object]
    ) -> Iterator[tuple[dict[str, Fact], Sequence[int]]]:
        """The subjects by what is read of them: equal ones together."""
        fields = sorted(field for field in reads if SCOPES[field] == scope)
        if not fields:
            yield {}, (0,)
            return
        columns = [self._column(field, subjects) for field in fields]
        equal: dict[tuple[object, ...], list[int]] = {}
        for place, row in enumerate(zip(*columns, strict=True)):
            key = tuple(tuple(fact) if isinstance(fact, list) else fact for fact in row)
            equal.setdefault(key, []).append(place)
        for places in equal.values():
            known = {
                field: column[places[0]] for field, column in zip(fields, columns, strict=True)
            }
            yield known, places

    def _column(self, field: str, subjects: Sequence[object]) -> Sequence[Fact]:
        if field not in self._columns:
            read = FIELDS[field].read
            self._columns[field] = [read(self._case, subject) for subject in subjects]
        return self._columns[field]


def _understood(when: str) -> Condition | str:
    """What is wrong with it where it was kept by a release that had other fields."""
    try:
        return condition(when)
    except Flawed as flawed:
        return str(flawed)


def _constraint(
    rule: Rule, nodes: tuple[str, ...] | None, lines: tuple[str, ...] | None
) -> Constraint:
    return Constraint(
        name=rule.name,
        kind=rule.kind,
        hard=rule.hard,
        value=rule.value,
        nodes=nodes,
        lines=lines,
        what=rule.what,
    )


def _all(several: Iterable[tuple[str, ...] | None]) -> tuple[str, ...]:
    return tuple(sorted({name for names in several if names for name in names}))
