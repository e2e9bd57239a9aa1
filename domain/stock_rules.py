"""Rules about stock: what each kind may speak of, and which one of several decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from domain.values import Value


class RuleKind(StrEnum):
    """
    `safety`: units that a node never gives away. `threshold`: units that a channel leaves unsold,
    taken off after the sum over its nodes. `cap`, `guarantee`: the most that a channel may have,
    and what others leave to it. `visibility`: whether a node ships, or offers pickup, to a
    channel. `few_left`: up to this many units the coarse view says "few_left".
    """

    SAFETY = "safety"
    THRESHOLD = "threshold"
    CAP = "cap"
    GUARANTEE = "guarantee"
    VISIBILITY = "visibility"
    FEW_LEFT = "few_left"


_GOODS: Final = frozenset({"sku", "category"})
_SPEAKS_OF: Final[Mapping[RuleKind, frozenset[str]]] = {
    RuleKind.SAFETY: _GOODS | {"node"},
    RuleKind.THRESHOLD: _GOODS | {"channel"},
    RuleKind.CAP: _GOODS | {"channel"},
    RuleKind.GUARANTEE: _GOODS | {"channel"},
    RuleKind.VISIBILITY: frozenset({"node", "channel"}),
    RuleKind.FEW_LEFT: _GOODS | {"channel"},
}
_MUST_NAME: Final[Mapping[RuleKind, str]] = {
    RuleKind.CAP: "channel",
    RuleKind.GUARANTEE: "channel",
    RuleKind.VISIBILITY: "node",
}
_SAYS: Final[Mapping[RuleKind, tuple[frozenset[str], ...]]] = {
    kind: (frozenset({"units"}),) for kind in RuleKind
} | {
    RuleKind.CAP: (frozenset({"units"}), frozenset({"percent"})),
    RuleKind.GUARANTEE: (frozenset({"units"}), frozenset({"percent"})),
    RuleKind.VISIBILITY: (frozenset({"ship", "pickup"}),),
}


class Subject(Value):
    """What a rule speaks of. Empty is any; a SKU and a category exclude each other."""

    kind: RuleKind
    channel: Annotated[str, Field(max_length=31)] = ""
    node: Annotated[str, Field(max_length=32)] = ""
    sku: Annotated[str, Field(max_length=128)] = ""
    category: Annotated[str, Field(max_length=200)] = ""

    @model_validator(mode="after")
    def _may_speak_of_it(self) -> Self:
        for name in ("channel", "node", "sku", "category"):
            if getattr(self, name) and name not in _SPEAKS_OF[self.kind]:
                raise ValueError(f"{name}: a rule of kind {self.kind} speaks of no {name}")
        if self.sku and self.category:
            raise ValueError("category: the SKU decides already; leave one of the two empty")
        needed = _MUST_NAME.get(self.kind)
        if needed and not getattr(self, needed):
            raise ValueError(f"{needed}: a rule of kind {self.kind} must name a {needed}")
        return self

    @property
    def specificity(self) -> tuple[int, bool, bool]:
        """
        The goods count first: a SKU before a category before any. Then a node, then a channel.

        So the safety stock of a SKU everywhere decides before that of its category at one node.
        """
        goods = 2 if self.sku else 1 if self.category else 0
        return goods, bool(self.node), bool(self.channel)


class Rule(Subject):
    """
    A subject and what holds for it. `percent` is of what is on hand at the nodes that are online.
    """

    units: Annotated[int | None, Field(ge=0, le=10**9)] = None
    percent: Annotated[int | None, Field(ge=0, le=100)] = None
    ship: bool | None = None
    pickup: bool | None = None

    @model_validator(mode="after")
    def _says_it(self) -> Self:
        values = ("units", "percent", "ship", "pickup")
        said = frozenset(name for name in values if getattr(self, name) is not None)
        if said not in _SAYS[self.kind]:
            allowed = " or ".join(" and ".join(sorted(names)) for names in _SAYS[self.kind])
            field = min(said - set().union(*_SAYS[self.kind]), default=min(_SAYS[self.kind][0]))
            raise ValueError(f"{field}: a rule of kind {self.kind} says {allowed}, nothing else")
        return self

    def concerns(self, sku: str, category: str) -> bool:
        """Whether it speaks of this product."""
        if self.sku:
            return self.sku == sku
        return self.category in {"", category}

    def amount(self, on_hand: int) -> int:
        """Its units, or its share of what is on hand, rounded down."""
        return self.units or 0 if self.percent is None else on_hand * self.percent // 100


def ascending(rules: Iterable[Rule], kind: RuleKind) -> list[Rule]:
    """The rules of a kind: where two speak of the same, the later one decides."""
    return sorted((r for r in rules if r.kind is kind), key=lambda rule: rule.specificity)


def decisive(rules: Iterable[Rule], kind: RuleKind, channel: str) -> Rule | None:
    """The most specific rule of a kind for a channel."""
    heard = [rule for rule in ascending(rules, kind) if rule.channel in {"", channel}]
    return heard[-1] if heard else None
