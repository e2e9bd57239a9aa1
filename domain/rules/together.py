"""What rule sets are refused for together: overlaps, and orders left without a next step."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from itertools import product
from math import prod
from typing import Final

from domain.orders import DeliveryMethod
from domain.rules.conditions import Flaw, Flawed
from domain.rules.sets import Outcome, Profile, RuleSet, Then

_OTHER: Final = ""  # any channel or segment that no profile names


def check_graph(rules: RuleSet, others: Mapping[str, RuleSet]) -> None:
    """
    Raise Flawed where some order that this set judges could be left without a next step, or come
    back to where it was. `others` are the sets that `next` may name, by their names.
    """
    named = {**others, rules.name: rules}
    found = list(_without_next(rules, named)) or list(_circles(named, rules.name))
    if found:
        raise Flawed(found)


def check_together(active: Sequence[RuleSet], rules: RuleSet) -> None:
    """
    Raise Flawed where `rules` and one of the sets that are `active` would both match an order at
    some time, or where with it some other set's `next` would lead nowhere.
    """
    others = {one.name: one for one in active if one.name != rules.name}
    for other in others.values():
        if rules.entry and other.entry:
            _apart(rules, other)
    check_graph(rules, others)
    for other in others.values():
        try:
            check_graph(other, {**others, rules.name: rules})
        except Flawed as flawed:
            raise Flawed([one.model_copy(update={"field": ""}) for one in flawed.flaws]) from None


def targets(rules: RuleSet) -> set[str]:
    """The names of the sets that its outcomes lead to."""
    return {
        outcome.next
        for profile in rules.profiles
        for _, outcomes in profile.outcomes.named()
        for outcome in outcomes
        if outcome.then is Then.NEXT
    }


def in_common(one: Profile, other: Profile) -> str:
    """What orders both match, in words; empty if none."""
    channel = _common(one.channels, other.channels)
    method = _common(one.methods, other.methods)
    segment = _common(one.segments, other.segments)
    if channel is None or method is None or segment is None:
        return ""
    return f"channel {channel}, method {method}, segment {segment}"


def _apart(rules: RuleSet, other: RuleSet) -> None:
    day = _both_hold(rules, other)
    if day is None:
        return
    for (number, mine), theirs in product(enumerate(rules.profiles), other.profiles):
        if both := in_common(mine, theirs):
            message = (
                f"{rules.name}/{mine.name} and {other.name}/{theirs.name}, which is active,"
                f" both match {both}{_since(day)}; archive one, or let their dates differ"
            )
            raise Flawed([Flaw(field=f"profiles.{number}", message=message)], code="overlap")


def _both_hold(rules: RuleSet, other: RuleSet) -> datetime | None:
    """The first instant at which both sets hold."""
    common = (
        (max(mine[0], theirs[0]), min(mine[1], theirs[1]))
        for mine, theirs in product(rules.periods(), other.periods())
    )
    return min((start for start, end in common if start < end), default=None)


def _common(one: Collection[str], other: Collection[str]) -> str | None:
    """What both have, or "any"; None if nothing."""
    if not one or not other:
        return next(iter(sorted((*one, *other))), "any")
    return next(iter(sorted(set(one) & set(other))), None)


def _without_next(rules: RuleSet, named: Mapping[str, RuleSet]) -> Iterator[Flaw]:
    for path, profile, outcome in _leads(rules):
        target = named.get(outcome.next)
        whose = f"{rules.name}/{profile.name}"
        if target is None:
            message = (
                f"there is no rule set {outcome.next} to go on with; orders of {whose} would be"
                " left without a next step: import it, or activate it, first"
            )
            yield Flaw(field=path, message=message)
        elif gap := _gap(profile, target):
            message = (
                f"{outcome.next} has no profile for {gap}, which {whose} matches; such an"
                " order would be left without a next step"
            )
            yield Flaw(field=path, message=message)
        elif (day := _uncovered(rules, target)) is not None:
            message = (
                f"{outcome.next} does not hold{_since(day)}, when {rules.name} does;"
                " orders would be left without a next step: let it hold as long"
            )
            yield Flaw(field=path, message=message)


def _leads(rules: RuleSet) -> Iterator[tuple[str, Profile, Outcome]]:
    for number, profile in enumerate(rules.profiles):
        for name, outcomes in profile.outcomes.named():
            for place, outcome in enumerate(outcomes):
                if outcome.then is Then.NEXT:
                    path = f"profiles.{number}.outcomes.{name}.{place}.next"
                    yield path, profile, outcome


def _gap(profile: Profile, target: RuleSet) -> str:
    """
    An order that the profile matches and no profile of the target does, in words.

    No two of the target's profiles match one order: so what they take together is counted, and a
    place where that is less than all is looked for, one dimension after the other.
    """
    wanted: list[set[str]] = [
        set(profile.channels or {_OTHER, *(c for p in target.profiles for c in p.channels)}),
        set[str](profile.methods or DeliveryMethod),
        set(profile.segments or {_OTHER, *(s for p in target.profiles for s in p.segments)}),
    ]
    boxes: list[tuple[set[str], ...]] = [
        (set(p.channels), set[str](p.methods), set(p.segments)) for p in target.profiles
    ]
    found: list[str] = []
    while boxes and len(found) < len(wanted):
        here, rest = len(found), wanted[len(found) + 1 :]
        sizes = [
            prod(len(of & named if named else of) for of, named in zip(rest, box, strict=True))
            for box in (b[here + 1 :] for b in boxes)
        ]
        whole = prod(len(of) for of in rest)
        short = (
            value
            for value in sorted(wanted[here])
            if sum(n for n, b in zip(sizes, boxes, strict=True) if not b[here] or value in b[here])
            < whole
        )
        value = next(short, None)
        if value is None:
            return ""
        found.append(value)
        boxes = [b for b in boxes if not b[here] or value in b[here]]
    found += [min(of) for of in wanted[len(found) :]]
    channel, method, segment = found
    told = f"channel {channel or 'any other'}, method {method}"
    return f"{told}, segment {segment or 'any other'}"


def _uncovered(rules: RuleSet, target: RuleSet) -> datetime | None:
    """The first instant at which the set holds and the target does not."""
    theirs = target.periods()
    for start, end in rules.periods():
        at = start
        for since, until in theirs:
            if since <= at < until:
                at = until
        if at < end:
            return at
    return None


def _since(day: datetime) -> str:
    """From when, where that is no mere beginning of time."""
    return f" from {day:%Y-%m-%d %H:%MZ}" if day.year > 1 else ""


def _circles(named: Mapping[str, RuleSet], name: str) -> Iterator[Flaw]:
    """Whether an order could come back to a profile that judged it; from the set's own profiles."""
    edges: dict[tuple[str, str], set[tuple[str, str]]] = {}
    waiting = [name]
    seen = {name}
    while waiting:
        rules = named[waiting.pop()]
        for _, profile, outcome in _leads(rules):
            target = named.get(outcome.next)
            if target is None:
                continue
            edges.setdefault((rules.name, profile.name), set()).update(
                (target.name, one.name) for one in target.profiles if in_common(profile, one)
            )
            if target.name not in seen:
                seen.add(target.name)
                waiting.append(target.name)
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        way = [f"{rule_set}/{profile}" for rule_set, profile in reversed(error.args[1])]
        number = next(
            (i for i, p in enumerate(named[name].profiles) if f"{name}/{p.name}" in way), 0
        )
        message = f"an order would go round for ever: {' → '.join(way)}; end one of them otherwise"
        yield Flaw(field=f"profiles.{number}.outcomes", message=message)
