"""What a rule set is refused for by itself: conditions, kinds, outcomes, overlaps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Final, Literal, NamedTuple

from pydantic import ValidationError

from domain.rules.conditions import Condition, Flaw, Flawed, condition
from domain.rules.facts import Scope
from domain.rules.sets import MOST_IN_ALL, Outcome, Outcomes, Profile, Rule, RuleSet, Then
from domain.rules.together import in_common
from domain.sourcing.policy import ALWAYS_HARD, PREFERENCES, PROFILES, Kind

Says = Literal["no", "may", "must"]


class Form(NamedTuple):
    """What a rule of a kind says: `least` and `most` bound its value; None: it has no bound."""

    nodes: Says = "no"
    lines: Says = "no"
    value: Says = "no"
    what: Says = "no"
    least: int = 0
    most: int | None = None


FORMS: Final[Mapping[Kind, Form]] = {
    "min_stock": Form("may", "may", "must", least=1),
    "location_priority": Form("must", value="must", least=1, most=10),
    "max_nodes": Form(value="must", least=1),
    "max_packages": Form(value="must", least=1),
    "max_distance": Form("may", "may", "must"),
    "max_rejects": Form(lines="may", value="must", least=1),
    "max_orders": Form("may", value="must"),
    "offline": Form("must"),
    "ship_complete_lines": Form(lines="may"),
    "ship_complete_order": Form(),
    "value_floor": Form(value="must", least=1),
    "never_split": Form(lines="may", value="may", least=1),
    "keep_together": Form(lines="may"),
    "ship_alone": Form(lines="may"),
    "capability": Form(lines="may", what="must"),
    "firm_node": Form("must", "may"),
    "preferred_node": Form("must", "may", "must", least=1),
    "local_radius": Form(value="must", least=1),
    "exclude": Form("must", "may"),
}


def check(rules: RuleSet) -> None:
    """
    Raise Flawed with all that is wrong with the set by itself. Takes up to half a minute where it
    has many long conditions that were not seen before.
    """
    found = list(_too_many(rules)) or [
        *_repeated([p.name for p in rules.profiles], "profiles", "profile"),
        *(f for i, p in enumerate(rules.profiles) for f in _of_profile(p, f"profiles.{i}")),
        *_overlaps(rules),
    ]
    if found:
        raise Flawed(found)


def _too_many(rules: RuleSet) -> Iterator[Flaw]:
    """Rules, and outcomes with a condition: each is compiled many times over."""
    outcomes = (one for p in rules.profiles for _, several in p.outcomes.named() for one in several)
    conditional = sum(bool(outcome.when) for outcome in outcomes)
    found = sum(len(profile.rules) for profile in rules.profiles) + conditional
    if found > MOST_IN_ALL:
        what = "rules and outcomes with a condition" if conditional else "rules"
        message = f"have {found} {what}; a set has {MOST_IN_ALL} at most, so split it"
        yield Flaw(field="profiles", message=message)


def _of_profile(profile: Profile, path: str) -> Iterator[Flaw]:
    yield from _of_weights(profile, path)
    yield from _repeated([rule.name for rule in profile.rules], f"{path}.rules", "rule")
    for number, rule in enumerate(profile.rules):
        yield from _of_rule(rule, f"{path}.rules.{number}")
    yield from _of_outcomes(profile.outcomes, f"{path}.outcomes")


def _of_weights(profile: Profile, path: str) -> Iterator[Flaw]:
    if profile.objective not in PROFILES:
        known = ", ".join(PROFILES)
        yield Flaw(field=f"{path}.objective", message=f"is none of {known}")
        return
    known_weights = PROFILES[profile.objective].model_dump()
    for name in profile.weights:
        if name not in known_weights:
            message = f"there is no such weight; there are {', '.join(known_weights)}"
            yield Flaw(field=f"{path}.weights.{name}", message=message)
    try:
        profile.weighed()
    except ValidationError as error:
        for one in error.errors():
            name = ".".join(str(part) for part in one["loc"])
            yield Flaw(field=f"{path}.weights.{name}", message=one["msg"])


def _of_rule(rule: Rule, path: str) -> Iterator[Flaw]:
    form = FORMS[rule.kind]
    kind = f"a rule of kind {rule.kind}"
    yield from _said(form.value, given=rule.value is not None, field=f"{path}.value", kind=kind)
    yield from _said(form.what, given=bool(rule.what), field=f"{path}.what", kind=kind)
    if rule.value is not None and form.value != "no":
        most = form.most if form.most is not None else rule.value
        if not form.least <= rule.value <= most:
            bounds = f"{form.least} or more" if form.most is None else f"{form.least} to {most}"
            yield Flaw(field=f"{path}.value", message=f"of {kind} is {bounds}")
    if not rule.hard and rule.kind in ALWAYS_HARD:
        yield Flaw(field=f"{path}.hard", message=f"{kind} is always hard; leave it out")
    if not rule.hard and rule.kind in PREFERENCES:
        message = f"{kind} is a preference, which forbids nothing; leave it out"
        yield Flaw(field=f"{path}.hard", message=message)
    yield from _of_condition(rule.when, f"{path}.when", kind, nodes=form.nodes, lines=form.lines)


def _said(form: Says, *, given: bool, field: str, kind: str) -> Iterator[Flaw]:
    name = field.rpartition(".")[2]
    if form == "must" and not given:
        yield Flaw(field=field, message=f"{kind} must say its {name}")
    if form == "no" and given:
        yield Flaw(field=field, message=f"{kind} has no {name}; leave it out")


def _of_condition(
    when: str, path: str, subject: str, *, nodes: Says = "no", lines: Says = "no"
) -> Iterator[Flaw]:
    spoken: Condition | None = None
    if when:
        try:
            spoken = condition(when)
        except Flawed as flawed:
            yield from (flaw.model_copy(update={"field": path}) for flaw in flawed.flaws)
            return
    scopes: tuple[tuple[Scope, Says], ...] = (("node", nodes), ("line", lines))
    for scope, says in scopes:
        speaks = spoken is not None and spoken.speaks_of(scope)
        what = "line or product" if scope == "line" else scope
        if says == "no" and speaks:
            message = f"{subject} holds for the whole order; it cannot speak of {what}"
            yield Flaw(field=path, message=message)
        if says == "must" and not speaks:
            message = f'{subject} must say for which nodes, such as node.kind == "store"'
            yield Flaw(field=path, message=message)


def _of_outcomes(outcomes: Outcomes, path: str) -> Iterator[Flaw]:
    """Each of the two has an action that is taken whatever the order is, and none after it."""
    for name, several in outcomes.named():
        for number, outcome in enumerate(several):
            here = f"{path}.{name}.{number}"
            yield from _of_outcome(outcome, here, name)
            yield from _of_condition(outcome.when, f"{here}.when", "an outcome")
        always = next((i for i, outcome in enumerate(several) if not outcome.when), None)
        if always is None:
            orders = (
                "of which some units find no node" if name == "partial" else "that find no node"
            )
            message = (
                f"orders {orders} could be left without a next step; end with an action"
                " that has no `when`"
            )
            yield Flaw(field=f"{path}.{name}", message=message)
        elif always + 1 < len(several):
            message = "is never reached: the one before it has no `when`"
            yield Flaw(field=f"{path}.{name}.{always + 1}", message=message)


def _of_outcome(outcome: Outcome, path: str, name: str) -> Iterator[Flaw]:
    then = f"`then: {outcome.then}`"
    for field, owner in (("next", Then.NEXT), ("queue", Then.QUEUE)):
        given = bool(getattr(outcome, field))
        if given != (outcome.then is owner):
            message = f"{then} has no {field}; leave it out" if given else f"{then} must name one"
            yield Flaw(field=f"{path}.{field}", message=message)
    waits = outcome.then in {Then.QUEUE, Then.BACKORDER, Then.REVIEW, Then.CANCEL}
    if outcome.cancel_after is not None and not waits:
        message = f"{then} does not wait; leave it out"
        yield Flaw(field=f"{path}.cancel_after", message=message)
    if outcome.allocate and name == "nothing":
        message = "nothing found a node, so nothing can be allocated; leave it out"
        yield Flaw(field=f"{path}.allocate", message=message)


def _repeated(names: Sequence[str], path: str, what: str) -> Iterator[Flaw]:
    for number, name in enumerate(names):
        if name in names[:number]:
            message = f"there is another {what} {name}; name them apart"
            yield Flaw(field=f"{path}.{number}.name", message=message)


def _overlaps(rules: RuleSet) -> Iterator[Flaw]:
    for (_, one), (number, other) in combinations(enumerate(rules.profiles), 2):
        if both := in_common(one, other):
            message = f"{one.name} and {other.name} both match {both}; tell them apart"
            yield Flaw(field=f"profiles.{number}", message=message)
