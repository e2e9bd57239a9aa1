"""
What may be sold of a SKU: the one definition, for reads, reservations and sourcing alike.

A node spares what it has free beyond its safety stock, where it is online and offers the method to
the channel. A channel may ship the sum of what its nodes spare, less what orders were promised of
it and what other channels are guaranteed, less the channel's threshold, up to its cap. A pickup
takes what one store spares, as far as the promises to others can still be kept. Never below 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from domain.geography import EARTH_RADIUS_MILES
from domain.orders import DeliveryMethod
from domain.stock_rules import Rule, RuleKind, ascending, decisive

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Level = Literal["in_stock", "few_left", "out_of_stock"]

FEW_LEFT: Final = 5
_MOST_AUDIENCES: Final = 10  # two to this power of combinations are looked at, no more


class Outlet(NamedTuple):
    """A node as far as selling is concerned: whether it is up, and what it offers at all."""

    code: str
    online: bool
    ships: bool
    pickup: bool
    latitude: float = 0.0
    longitude: float = 0.0


class Outlets:
    """The nodes in one order, and which of them offer what to which channel."""

    def __init__(self, outlets: Sequence[Outlet], rules: Iterable[Rule] = ()) -> None:
        self.codes = tuple(outlet.code for outlet in outlets)
        self.code_array = np.array(self.codes, dtype=np.object_)
        self.index = {code: number for number, code in enumerate(self.codes)}
        self.online: Bools = np.array([o.online for o in outlets], dtype=np.bool_)
        self._able = {
            DeliveryMethod.SHIP: np.array([o.ships for o in outlets], dtype=np.bool_),
            DeliveryMethod.PICKUP: np.array([o.pickup for o in outlets], dtype=np.bool_),
        }
        self._places = np.radians([(o.latitude, o.longitude) for o in outlets]).reshape(-1, 2)
        self._rules = ascending(rules, RuleKind.VISIBILITY)
        self._own = frozenset(rule.channel for rule in self._rules)
        self._offers: dict[tuple[str, DeliveryMethod], Bools] = {}

    def audience(self, channel: str) -> str:
        """Channels of one audience see the same nodes; "" are all those without rules of theirs."""
        return channel if channel in self._own else ""

    @property
    def divided(self) -> bool:
        """Whether some channel sees other nodes than the others do."""
        return bool(self._own - {""})

    def offers(self, channel: str, method: DeliveryMethod) -> Bools:
        """Which nodes are up, able, and shown to the channel for the method."""
        audience = self.audience(channel)
        known = self._offers.get((audience, method))
        if known is None:
            shown = np.ones(len(self.codes), dtype=np.bool_)
            for rule in self._rules:
                if rule.channel in {"", audience} and rule.node in self.index:
                    said = rule.ship if method is DeliveryMethod.SHIP else rule.pickup
                    shown[self.index[rule.node]] = bool(said)
            known = shown & self._able[method] & self.online
            self._offers[audience, method] = known
        return known

    def miles_from(self, latitude: float, longitude: float) -> npt.NDArray[np.float64]:
        """The great-circle distance of each node: `geography.miles_between`, for all at once."""
        here = np.radians([latitude, longitude])
        h = np.sin((self._places - here) / 2) ** 2
        cosines = np.cos(here[0]) * np.cos(self._places[:, 0])
        root = np.sqrt(np.minimum(1.0, h[:, 0] + cosines * h[:, 1]))
        return np.asarray(2 * EARTH_RADIUS_MILES * np.arcsin(root), dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Position:
    """
    A SKU now. The arrays run along `nodes`, which are numbers of outlets.

    `pool` is what is free at online nodes less the open network reservations. `promised` are those
    reservations by channel, and `held` what a channel's orders hold at nodes and has not left. The
    two are needed only where rules tell channels apart (`tells_apart`), and the nodes that hold
    nothing back only there too. `rules` are those that concern the SKU.
    """

    pool: int
    nodes: npt.NDArray[np.intp]
    on_hand: Ints
    allocated: Ints
    safety: Ints
    rules: tuple[Rule, ...] = ()
    promised: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)

    @property
    def free(self) -> Ints:
        return self.on_hand - self.allocated


_NONE: Final[Ints] = np.empty(0, dtype=np.int64)
NOTHING: Final = Position(0, np.empty(0, dtype=np.intp), _NONE, _NONE, _NONE)


def with_arrivals(outlets: Outlets, here: Position, units: Mapping[str, int]) -> Position:
    """The SKU once so many units have come to these nodes, by code, and nobody had them yet."""
    came = np.zeros(len(outlets.codes), dtype=np.int64)
    for code, quantity in units.items():
        if code in outlets.index:
            came[outlets.index[code]] += quantity
    new = np.setdiff1d(np.flatnonzero(came), here.nodes)
    nodes = np.concatenate([here.nodes, new]).astype(np.intp)
    nothing = np.zeros(len(new), dtype=np.int64)
    return replace(
        here,
        pool=here.pool + int(came[outlets.online].sum()),
        nodes=nodes,
        on_hand=np.concatenate([here.on_hand, nothing]) + came[nodes],
        allocated=np.concatenate([here.allocated, nothing]),
        safety=np.concatenate([here.safety, safety_stock(outlets, here.rules)[new]]),
    )


def tells_apart(outlets: Outlets, rules: Iterable[Rule]) -> bool:
    """Whether it matters to whom units are promised."""
    shares = {RuleKind.CAP, RuleKind.GUARANTEE}
    return outlets.divided or any(rule.kind in shares for rule in rules)


def safety_stock(outlets: Outlets, rules: Iterable[Rule]) -> Ints:
    """The safety stock of a SKU at each outlet, of the rules that concern it."""
    kept = np.zeros(len(outlets.codes), dtype=np.int64)
    for rule in ascending(rules, RuleKind.SAFETY):
        if not rule.node:
            kept[:] = rule.units or 0
        elif rule.node in outlets.index:
            kept[outlets.index[rule.node]] = rule.units or 0
    return kept


def spared(outlets: Outlets, here: Position, channel: str, method: DeliveryMethod) -> Ints:
    """What each node may give to a channel: free beyond the safety stock, where it is offered."""
    return _beyond_safety(here) * outlets.offers(channel, method)[here.nodes]


def to_sell(outlets: Outlets, here: Position, channel: str, method: DeliveryMethod) -> int:
    """
    Units that one more order of the channel may get.

    Of a pickup, which one store serves: at the store that may give the most.
    """
    if method is DeliveryMethod.PICKUP:
        return int(at_nodes(outlets, here, channel, method).max(initial=0))
    left, _ = _left(outlets, here, channel)
    threshold = decisive(here.rules, RuleKind.THRESHOLD, channel)
    left -= (threshold.units or 0) if threshold else 0
    return max(min(left, _room(outlets, here, channel, left)), 0)


def at_nodes(outlets: Outlets, here: Position, channel: str, method: DeliveryMethod) -> Ints:
    """
    Units that one more order of the channel may get from each node alone, along `here.nodes`.

    The sum of it may be more than there is to sell: what is promised is not yet at a node.
    """
    spare = spared(outlets, here, channel, method)
    if method is DeliveryMethod.SHIP:
        return np.minimum(spare, to_sell(outlets, here, channel, method))
    _, limits = _left(outlets, here, channel)
    most = _room(outlets, here, channel, int(spare.max(initial=0)))
    return np.maximum(np.minimum(np.minimum(spare, limits), most), 0)


@dataclass(frozen=True, slots=True, eq=False)
class Offer:
    """
    What a channel may have of a SKU by a method: in all, and from each node alone.

    `at` runs along the position's nodes; `nodes` are those of them that have any, by code. Up to
    `few` units are few.
    """

    units: int
    at: Ints
    nodes: Mapping[str, int]
    few: int


def offer(outlets: Outlets, here: Position, channel: str, method: DeliveryMethod) -> Offer:
    if method is DeliveryMethod.SHIP:
        units = to_sell(outlets, here, channel, method)
        at = np.minimum(spared(outlets, here, channel, method), units)
    else:
        at = at_nodes(outlets, here, channel, method)
        units = int(at.max(initial=0))
    some = at > 0
    codes = outlets.code_array[here.nodes[some]].tolist()
    nodes = dict(zip(codes, at[some].tolist(), strict=True))
    return Offer(units, at, nodes, few_left(here, channel))


Part: TypeAlias = tuple[Position, int]


def kit_offer(  # noqa: PLR0913 - a SKU's offer, of its parts
    outlets: Outlets,
    own: Position,
    parts: Sequence[Part],
    channel: str,
    method: DeliveryMethod,
    *,
    together: bool,
) -> Offer:
    """
    What a channel may have of a kit, of which each has so many units of each of the `parts`.

    As many as every component allows, under the components' own rules and the threshold of the
    kit's (`own`). Kits that leave `together` are at most those that nodes have whole. `at` runs
    along all outlets.
    """
    at = np.full(len(outlets.codes), np.iinfo(np.int64).max)
    for here, per_kit in parts:
        there = np.zeros(len(outlets.codes), dtype=np.int64)
        there[here.nodes] = at_nodes(outlets, here, channel, method) // per_kit
        at = np.minimum(at, there)
    if method is DeliveryMethod.SHIP:
        units = min(to_sell(outlets, here, channel, method) // n for here, n in parts)
        if together:
            units = min(units, _whole_at_nodes(outlets, parts, channel))
        threshold = decisive(own.rules, RuleKind.THRESHOLD, channel)
        units = max(units - ((threshold.units or 0) if threshold else 0), 0)
        at = np.minimum(at, units)
    else:
        units = int(at.max(initial=0))
    some = np.flatnonzero(at)
    nodes = dict(zip(outlets.code_array[some].tolist(), at[some].tolist(), strict=True))
    return Offer(units, at, nodes, few_left(own, channel))


def _whole_at_nodes(outlets: Outlets, parts: Sequence[Part], channel: str) -> int:
    """
    Kits that nodes have whole and that are not promised.

    A promise is not yet at a node. Those of all the components at once may be of kits and count as
    such; what else is promised is met first from what makes no whole kit anywhere.
    """
    whole = np.full(len(outlets.codes), np.iinfo(np.int64).max)
    spare, promised = [], []
    for here, per_kit in parts:
        there = np.zeros(len(outlets.codes), dtype=np.int64)
        there[here.nodes] = spared(outlets, here, channel, DeliveryMethod.SHIP)
        whole = np.minimum(whole, there // per_kit)
        spare.append(int(there.sum()))
        free = int((here.free * outlets.online[here.nodes]).sum())
        promised.append(max(free - here.pool, 0))
    there_are = int(whole.sum())
    needs = [per_kit for _, per_kit in parts]
    kits = min(units // n for units, n in zip(promised, needs, strict=True))
    broken = max(
        -(-max(units - kits * n - (left - there_are * n), 0) // n)
        for units, left, n in zip(promised, spare, needs, strict=True)
    )
    return max(there_are - kits - broken, 0)


def few_left(here: Position, channel: str) -> int:
    """Up to how many units are "few": the channel's `few_left` rule, or 5."""
    rule = decisive(here.rules, RuleKind.FEW_LEFT, channel)
    return FEW_LEFT if rule is None else rule.units or 0


def level(units: int, few: int) -> Level:
    """The coarse view of so many units."""
    return "out_of_stock" if units <= 0 else "few_left" if units <= few else "in_stock"


def crossed(state: Literal["ok", "low"], units: int, low: int, high: int) -> bool:
    """
    Whether a watched SKU changes its state: to low at `low` or below, back to ok above `high`.

    Between the two it stays as it is, so that units that come and go tell nobody.
    """
    return units <= low if state == "ok" else units > high


def _beyond_safety(here: Position) -> Ints:
    spare: Ints = np.maximum(here.free - here.safety, 0)
    return spare


def _left(outlets: Outlets, here: Position, channel: str) -> tuple[int, Ints]:
    """
    What the channel may still have shipped, and what a pickup may still take from each node.

    Promises bind an audience to the nodes that it sees. They can all be kept if and only if each
    set of audiences is promised no more than the nodes that any of them sees can spare (Hall's
    theorem); what the tightest set that an order would touch has to spare is left for it.
    """
    spare = _beyond_safety(here)
    kept = _guaranteed_to_others(outlets, here, channel)
    if not outlets.divided:
        ships = outlets.offers(channel, DeliveryMethod.SHIP)[here.nodes]
        online = outlets.online[here.nodes]
        held_back = int((here.free * online).sum()) - int((spare * ships).sum())
        left = here.pool - held_back - sum(kept.values())
        return left, _limit(spare, ships, left)
    owed: Counter[str] = Counter()
    for who, units in [*here.promised.items(), *kept.items()]:
        owed[outlets.audience(who)] += units
    return _tightest(outlets, here, spare, owed, outlets.audience(channel))


def _tightest(
    outlets: Outlets, here: Position, spare: Ints, owed: Mapping[str, int], asking: str
) -> tuple[int, Ints]:
    sees = {
        who: outlets.offers(who, DeliveryMethod.SHIP)[here.nodes]
        for who in {asking, *(who for who, units in owed.items() if units)}
    }
    audiences = sorted(sees)
    if len(audiences) > _MOST_AUDIENCES:  # as if all were promised of what this one sees: too few
        left = int((spare * sees[asking]).sum()) - sum(owed.values())
        return left, _limit(spare, np.ones_like(spare, dtype=np.bool_), left)
    left = int(spare.sum())
    limits = spare
    for number in range(1, 1 << len(audiences)):
        some = [who for place, who in enumerate(audiences) if number >> place & 1]
        seen = np.logical_or.reduce([sees[who] for who in some])
        over = int((spare * seen).sum()) - sum(owed.get(who, 0) for who in some)
        limits = np.minimum(limits, _limit(spare, seen, over))
        if asking in some:
            left = min(left, over)
    return left, limits


def _limit(spare: Ints, seen: Bools, left: int) -> Ints:
    """What a node that is seen may give without going below what is left in all."""
    return np.where(seen, np.minimum(spare, left), spare).astype(np.int64)


def _guaranteed_to_others(outlets: Outlets, here: Position, channel: str) -> dict[str, int]:
    """What other channels are guaranteed and have not had, by channel."""
    others = {r.channel for r in here.rules if r.kind is RuleKind.GUARANTEE} - {channel}
    kept = {}
    for other in others:
        rule = decisive(here.rules, RuleKind.GUARANTEE, other)
        due = rule.amount(_on_hand(outlets, here)) if rule else 0
        kept[other] = max(due - _has(here, other), 0)
    return kept


def _room(outlets: Outlets, here: Position, channel: str, otherwise: int) -> int:
    """What the channel's cap leaves to it."""
    rule = decisive(here.rules, RuleKind.CAP, channel)
    if rule is None:
        return otherwise
    return rule.amount(_on_hand(outlets, here)) - _has(here, channel)


def _has(here: Position, channel: str) -> int:
    return here.promised.get(channel, 0) + here.held.get(channel, 0)


def _on_hand(outlets: Outlets, here: Position) -> int:
    return int((here.on_hand * outlets.online[here.nodes]).sum())
