"""Rule sets of a few words; a test changes in them what it is about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from domain.network import Node, Product, RateCard
from domain.orders import Order, Units
from domain.rules.facts import Case
from domain.rules.sets import RuleSet, Version
from tests.samples import NOON, an_order

WAITS: dict[str, Any] = {"then": "backorder"}
OUTCOMES: dict[str, Any] = {"partial": [WAITS], "nothing": [WAITS]}


def a_profile(name: str = "all", *rules: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return {"name": name, "rules": list(rules), "outcomes": OUTCOMES, **changes}


def a_rule(name: str, kind: str, when: str = "", **changes: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "when": when, **changes}


def a_set(name: str = "web", *profiles: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    return {"name": name, "owner": "ann", "profiles": list(profiles or [a_profile()]), **changes}


def rules(name: str = "web", *profiles: Mapping[str, Any], **changes: Any) -> RuleSet:
    return RuleSet.model_validate(a_set(name, *profiles, **changes))


def version(*of: Mapping[str, Any]) -> Version:
    """Version 3 of a set of one profile with these rules."""
    return Version(rules("web", a_profile("all", *of)), 3)


def leads_to(target: str, **changes: Any) -> dict[str, Any]:
    on = {"then": "next", "next": target}
    return {"outcomes": {"partial": [{"allocate": True, **on}], "nothing": [on]}, **changes}


@dataclass(frozen=True)
class Seen:
    """A snapshot of the network."""

    nodes: tuple[Node, ...] = ()
    stock: dict[str, dict[str, int]] = field(default_factory=dict)
    capacity_left: dict[str, int | None] = field(default_factory=dict)
    units_left: dict[str, int | None] = field(default_factory=dict)
    rate_cards: tuple[RateCard, ...] = ()
    products: dict[str, Product] = field(default_factory=dict)


def a_case(order: Order | None = None, *nodes: Node, **changes: Any) -> Case:
    """The order's lines as they are, at noon; `changes` are of the snapshot and of the case."""
    order = order or an_order()
    seen = {k: changes.pop(k) for k in ("stock", "capacity_left", "products") if k in changes}
    units = tuple(
        Units(line_id=line.line_id, sku=line.sku, quantity=line.quantity) for line in order.lines
    )
    known: dict[str, Any] = {"units": units, "now": NOON, **changes}
    return Case(order=order, snapshot=Seen(nodes=nodes, **seen), **known)
