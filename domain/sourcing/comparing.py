"""Says of two plans which costs less, and what else counts where that does not decide."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from domain.sourcing.build import PICKUP
from domain.sourcing.policy import Weights
from domain.sourcing.problem import MONEY, Assignment, Decision, Plan, Problem
from domain.sourcing.record import Record
from domain.sourcing.weighing import THOUSANDTHS, parts
from domain.sourcing.words import count, joined, money

SAID: Final = {"split": "splitting", "late": "lateness", "stock": "scarce stock"}
MOST_NAMED: Final = 3


def against(decision: Decision, other: Plan) -> str:
    """What another plan would cost, beside the one that was decided on, and why it is not that."""
    costs, but = compared(decision, other)
    return costs + but


def compared(decision: Decision, other: Plan) -> tuple[str, str]:
    """The two halves of it; the second is empty where the money decides."""
    plan, currency = decision.plan, decision.problem.currency
    gap = other.cost.total - plan.cost.total
    if gap > 0:
        return f"would cost {money(gap, currency)} more", ""
    costs = f"would cost {money(-gap, currency)} less" if gap else "would cost the same"
    if other.worth > plan.worth and (said := what_counts(decision.problem, other, plan)):
        return costs, f", but {said}"
    return costs, f", but {_unweighed(decision)}" if gap else ""


def what_counts(problem: Problem, one: Plan, other: Plan, per: int = THOUSANDTHS) -> str:
    """
    What counts against the first plan, or for it where it is the better one, other than what it
    costs, a minor unit of which counts `per`: what counts most, and as much as it takes.
    """
    units = other.worth[0] - one.worth[0]
    if units:
        return f"serves {count(abs(units), 'unit', 'units')} {_more(units, 'fewer')}"
    if one.rank != other.rank:
        return "the priorities of locations come before any cost"
    sign = 1 if one.objective >= other.objective else -1
    ours, theirs = (_beyond_money(problem.policy.weights, plan, per) for plan in (one, other))
    excess = {name: sign * (value - theirs[name]) for name, value in ours.items()}
    due = sign * per * (other.cost.total - one.cost.total)
    said: list[str] = []
    for name in sorted(excess, key=lambda name: (-excess[name], name))[:MOST_NAMED]:
        if excess[name] <= 0 or (said and due <= 0):
            break
        due -= excess[name]
        said.append(_difference(problem, name, one, other))
    return ", and ".join(said)


def by_services(record: Record, packages: Iterable[Assignment]) -> str:
    """How they go, with a blank before it; nothing where there is only one way to go."""
    problem = record.decision.problem
    known = {option.service for node in problem.candidates for option in node.options}
    known |= {card.service for card in record.seen.rate_cards} if record.seen else set()
    used = dict.fromkeys(package.service for package in packages)
    if len(known) < 2 or PICKUP in used:  # noqa: PLR2004 - one is no choice
        return ""
    return f" by {joined(used)}"


def _unweighed(decision: Decision) -> str:
    """Why a plan was decided on that is worth no more than another one."""
    if decision.promise and decision.promise.kept:
        return "the plan is the one that was promised"
    if decision.proof != "optimal":
        return "the search ended before it found that"
    if any(rule.soft for rule in decision.problem.policy.constraints):
        return "what keeps to all rules was planned first"
    return "something else counts for more"


def _beyond_money(weights: Weights, plan: Plan, per: int) -> dict[str, int]:
    """What each part of the objective counts beyond the money that it is, in thousandths."""
    weighed, cost = parts(weights, plan), plan.cost.model_dump()
    names = (*MONEY, "carbon_g", "days", "miles", "packages", "preference_minor")
    return {name: weighed.get(name, 0) - per * cost.get(name, 0) for name in names}


def _difference(problem: Problem, name: str, one: Plan, other: Plan) -> str:
    """How the first plan differs in the part, and what that counts; after "but"."""
    weights, currency = problem.policy.weights, problem.currency
    if name in MONEY:
        minor = getattr(one.cost, name) - getattr(other.cost, name)
        weighed = round(abs(minor) * getattr(weights, name) / 100)
        counts = money(weighed, currency) if weighed else "nothing"
        what = f"{money(abs(minor), currency)} {_more(minor)} for {SAID.get(name, name)}"
        return f"{what} counts as {counts} here"
    if name == "preference_minor":
        return _preferred(problem, one, other)
    n = _measured(one, name) - _measured(other, name)
    size = abs(n)
    if name == "days":
        days, each = count(size, "day", "days"), money(weights.minor_per_day, currency)
        single = len(one.assignments) == len(other.assignments) == 1
        arrives = f"arrives {days} {'later' if n > 0 else 'earlier'}"
        takes = arrives if single else f"takes {days} {_more(n)} over all packages"
        return f"{takes}, and a day counts {each} here"
    if name == "carbon_g":
        each = money(weights.carbon_minor_per_kg, currency)
        return f"makes {size:,} g {_more(n)} carbon, and a kilogram counts {each} here"
    if name == "miles":
        each = money(weights.minor_per_1000_miles, currency)
        miles = count(size, "mile", "miles")
        return f"goes {miles} {_more(n)}, and 1,000 miles count {each} here"
    each = money(weights.minor_per_package, currency)
    packages = count(size, "package", "packages")
    return f"comes in {packages} {_more(n, 'fewer')}, and a package counts {each} here"


def _preferred(problem: Problem, one: Plan, other: Plan) -> str:
    """The preference that most of the difference is from."""
    minor: dict[str, int] = {}
    for rule in problem.policy.constraints:
        if rule.kind == "preferred_node" and rule.nodes is not None:
            ours, theirs = (
                sum(package.node not in rule.nodes for package in plan.assignments)
                for plan in (one, other)
            )
            minor[rule.name] = minor.get(rule.name, 0) + (ours - theirs) * (rule.value or 0)
    whole = _measured(one, "preference_minor") - _measured(other, "preference_minor")
    name = max(minor, key=lambda name: minor[name] if whole > 0 else -minor[name], default="")
    which = f"rule {name} counts" if name else "preferences count"  # a promise's: of rules then
    said = money(abs(minor.get(name, whole)), problem.currency)
    return f"{which} {said} {'against' if whole > 0 else 'for'} it"


def _measured(plan: Plan, name: str) -> int:
    return sum(getattr(package.measures, name) for package in plan.assignments)


def _more(difference: int, less: str = "less") -> str:
    return "more" if difference > 0 else less
