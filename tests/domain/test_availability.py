"""What may be sold: the named examples, and what holds whatever the numbers are."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.availability import (
    NOTHING,
    Outlet,
    Outlets,
    Position,
    at_nodes,
    crossed,
    few_left,
    level,
    safety_stock,
    spared,
    to_sell,
)
from domain.geography import miles_between
from domain.orders import DeliveryMethod
from domain.stock_rules import Rule, RuleKind

SHIP, PICKUP = DeliveryMethod.SHIP, DeliveryMethod.PICKUP
SAFETY, THRESHOLD = RuleKind.SAFETY, RuleKind.THRESHOLD
CAP, GUARANTEE, VISIBILITY = RuleKind.CAP, RuleKind.GUARANTEE, RuleKind.VISIBILITY


def outlets(*rules: Rule, stores: int = 3, **changes: Any) -> Outlets:
    """Stores N0, N1, … that ship and offer pickup; the changes are those of N0."""
    first = Outlet("N0", online=True, ships=True, pickup=True)._replace(**changes)
    rest = (Outlet(f"N{n}", online=True, ships=True, pickup=True) for n in range(1, stores))
    return Outlets([first, *rest], rules)


def position(
    where: Outlets,
    free: Sequence[int],
    *rules: Rule,
    promised: Mapping[str, int] | None = None,
    held: Mapping[str, int] | None = None,
) -> Position:
    """The SKU "A" of category "toys"; what is held is on hand at the first node besides."""
    nodes = np.arange(len(free), dtype=np.intp)
    allocated = np.zeros(len(free), dtype=np.int64)
    allocated[0] = sum((held or {}).values())
    units = np.array(free, dtype=np.int64)
    concerned = tuple(rule for rule in rules if rule.concerns("A", "toys"))
    return Position(
        pool=int((units * where.online[nodes]).sum()) - sum((promised or {}).values()),
        nodes=nodes,
        on_hand=units + allocated,
        allocated=allocated,
        safety=safety_stock(where, concerned)[nodes],
        rules=concerned,
        promised=promised or {},
        held=held or {},
    )


def sell(
    free: Sequence[int],
    *rules: Rule,
    channel: str = "web",
    method: DeliveryMethod = SHIP,
    promised: Mapping[str, int] | None = None,
    held: Mapping[str, int] | None = None,
    **changes: Any,
) -> int:
    where = outlets(*rules, stores=max(len(free), 1), **changes)
    return to_sell(
        where, position(where, free, *rules, promised=promised, held=held), channel, method
    )


def test_hotwax_220_less_a_threshold_of_10_is_210() -> None:
    threshold = Rule(kind=THRESHOLD, channel="web", units=10)
    assert sell([100, 80, 40], threshold) == 210
    assert sell([100, 80, 40], threshold, channel="outlet") == 220
    assert sell([100, 80, 40], threshold, promised={"outlet": 5}) == 205
    assert sell([4, 3], threshold) == 0


@pytest.mark.parametrize(
    ("rules", "units"),
    [
        pytest.param([], 30, id="none"),
        pytest.param([{"units": 1}], 27, id="everywhere"),
        pytest.param([{"units": 1}, {"node": "N0", "units": 4}], 24, id="the node before any"),
        pytest.param([{"node": "N0", "units": 9}, {"category": "toys", "units": 2}], 24,
                     id="the category before the node"),
        pytest.param([{"category": "toys", "units": 2},
                      {"category": "toys", "node": "N1", "units": 5}],
                     21, id="the category at the node before the category"),
        pytest.param([{"sku": "A", "units": 3}, {"category": "toys", "node": "N1", "units": 5}],
                     21, id="the SKU before its category at the node"),
        pytest.param([{"sku": "A", "units": 3}, {"sku": "A", "node": "N2", "units": 0}],
                     24, id="the SKU at the node before all"),
        pytest.param([{"sku": "B", "units": 3}, {"category": "food", "units": 3}], 30, id="others"),
        pytest.param([{"units": 99}], 0, id="more than there is"),
    ],
)  # fmt: skip
def test_the_most_specific_safety_stock_decides(rules: list[dict[str, object]], units: int) -> None:
    made = [Rule.model_validate({"kind": SAFETY, **rule}) for rule in rules]
    assert sell([10, 10, 10], *made) == units
    assert sell([10, 10, 10], *reversed(made)) == units


def test_safety_stock_at_one_node_is_not_lent_to_another() -> None:
    assert sell([2, 10], Rule(kind=SAFETY, units=5)) == 5


def test_a_node_that_is_down_or_does_not_ship_adds_nothing() -> None:
    assert sell([10, 5], online=False) == 5
    assert sell([10, 5], ships=False) == 5
    assert sell([10, 5], promised={"web": 4}, ships=False) == 1
    assert sell([10, 5], method=PICKUP) == 10
    assert sell([10, 5], method=PICKUP, pickup=False) == 5


def test_visibility_is_per_channel_and_method() -> None:
    hidden = Rule(kind=VISIBILITY, node="N0", ship=False, pickup=True)
    for_web = Rule(kind=VISIBILITY, node="N0", channel="web", ship=True, pickup=False)
    assert sell([10, 5], hidden) == 5
    assert sell([10, 5], hidden, method=PICKUP) == 10
    assert sell([10, 5], hidden, for_web) == 15
    assert sell([10, 5], hidden, for_web, method=PICKUP) == 5
    assert sell([10, 5], hidden, for_web, channel="outlet") == 5
    assert sell([10, 5], for_web, ships=False) == 5, "a rule gives a node no ability"


def test_what_is_promised_to_a_channel_elsewhere_takes_nothing_from_another() -> None:
    apart = [
        Rule(kind=VISIBILITY, node="N0", channel="eu", ship=False, pickup=False),
        Rule(kind=VISIBILITY, node="N1", channel="us", ship=False, pickup=False),
    ]
    assert sell([10, 7], *apart, channel="eu", promised={"us": 9}) == 7
    assert sell([10, 7], *apart, channel="us", promised={"us": 9}) == 1
    assert sell([10, 7], *apart, channel="all", promised={"us": 9, "eu": 2}) == 6
    assert sell([10, 7], *apart, channel="eu", promised={"all": 15}) == 2


def test_a_cap_counts_what_the_channel_has_and_has_not_been_sent() -> None:
    cap = Rule(kind=CAP, channel="web", percent=20)
    assert sell([60, 40], cap) == 20
    assert sell([60, 40], cap, promised={"web": 15, "outlet": 30}) == 5
    assert sell([55, 40], cap, promised={"web": 12}, held={"web": 5}) == 3
    assert sell([60, 40], cap, promised={"web": 25}) == 0
    assert sell([60, 40], cap, channel="outlet") == 100
    assert sell([60, 40], cap, Rule(kind=CAP, channel="web", sku="A", units=3)) == 3
    assert sell([60, 40], cap, method=PICKUP) == 20


def test_a_guarantee_is_kept_from_the_others_until_it_was_had() -> None:
    mine = Rule(kind=GUARANTEE, channel="web", units=30)
    assert sell([60, 40], mine) == 100
    assert sell([60, 40], mine, channel="outlet") == 70
    assert sell([60, 40], mine, channel="outlet", promised={"web": 10}) == 70
    assert sell([60, 30], mine, channel="outlet", promised={"web": 5}, held={"web": 10}) == 70
    assert sell([60, 40], mine, channel="outlet", promised={"web": 50}) == 50
    assert sell([60, 40], mine, channel="outlet", promised={"outlet": 70}) == 0
    half = Rule(kind=GUARANTEE, channel="web", percent=50)
    assert sell([60, 40], half, channel="outlet") == 50
    assert sell([60, 40], half, channel="outlet", method=PICKUP) == 50


def test_a_pickup_leaves_what_is_promised_to_the_network() -> None:
    where = outlets(stores=2)
    here = position(where, [5, 2], promised={"web": 4})
    assert at_nodes(where, here, "web", PICKUP).tolist() == [3, 2]
    only_pickup = outlets(stores=2, ships=False)
    here = position(only_pickup, [5, 9], promised={"web": 4})
    assert at_nodes(only_pickup, here, "web", PICKUP).tolist() == [5, 5]
    assert at_nodes(only_pickup, here, "web", SHIP).tolist() == [0, 5]


def test_nothing_is_known_of_what_was_never_stocked() -> None:
    assert to_sell(outlets(), NOTHING, "web", SHIP) == 0
    assert to_sell(outlets(), NOTHING, "web", PICKUP) == 0


def test_the_coarse_view_has_a_threshold_of_its_own() -> None:
    where = outlets()
    rule = Rule(kind=RuleKind.FEW_LEFT, channel="web", units=9)
    plain, ruled = position(where, [9]), position(where, [9], rule)
    assert [few_left(ruled, "web"), few_left(ruled, "outlet"), few_left(plain, "web")] == [9, 5, 5]
    assert [level(n, 5) for n in (0, 1, 5, 6)] == [
        "out_of_stock", "few_left", "few_left", "in_stock",
    ]  # fmt: skip


def test_a_watch_does_not_flap() -> None:
    state, told = "ok", []
    for units in (9, 3, 2, 3, 5, 3, 5, 6, 4, 3):
        if crossed(state, units, low=3, high=5):  # type: ignore[arg-type]
            state = "low" if state == "ok" else "ok"
            told.append((units, state))
    assert told == [(3, "low"), (6, "ok"), (3, "low")]


@pytest.mark.parametrize(
    ("rule", "field"),
    [
        ({"kind": "safety", "channel": "web", "units": 1}, "channel"),
        ({"kind": "safety"}, "units"),
        ({"kind": "safety", "percent": 3}, "percent"),
        ({"kind": "cap", "units": 3}, "channel"),
        ({"kind": "cap", "channel": "web", "units": 3, "percent": 3}, "units"),
        ({"kind": "visibility", "channel": "web", "ship": True, "pickup": True}, "node"),
        ({"kind": "visibility", "node": "N0", "ship": True}, "pickup"),
        ({"kind": "threshold", "sku": "A", "category": "toys", "units": 1}, "category"),
    ],
)
def test_a_rule_that_cannot_be_names_the_field(rule: dict[str, object], field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}: "):
        Rule.model_validate(rule)


def test_distances_are_those_of_geography() -> None:
    places = [(32.78, -96.8), (40.7, -74.0), (21.3, -157.8)]
    here = Outlets([Outlet(str(n), True, True, True, *at) for n, at in enumerate(places)])  # noqa: FBT003
    expected = [miles_between((41.88, -87.63), at) for at in places]
    assert here.miles_from(41.88, -87.63).tolist() == pytest.approx(expected)


# ---- whatever the numbers are

CHANNELS = ("web", "eu", "us")
UNITS = st.integers(0, 12)


def _subject(rule: Rule) -> tuple[str, ...]:
    return rule.kind, rule.channel, rule.node, rule.sku, rule.category


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Outlets, Position]:
    """Up to four nodes, rules of every kind, and promises that might have been made."""
    count = draw(st.integers(1, 4))
    flags = st.tuples(*[st.booleans()] * 3)
    nodes = [Outlet(f"N{n}", *draw(flags)) for n in range(count)]
    some = st.sampled_from([node.code for node in nodes])
    channel = st.sampled_from(CHANNELS)
    goods = st.sampled_from([{}, {"sku": "A"}, {"category": "toys"}])
    shown = st.builds(
        lambda node, to, ship, pickup: Rule(
            kind=VISIBILITY, node=node, channel=to, ship=ship, pickup=pickup
        ),
        some, st.sampled_from(["", *CHANNELS]), st.booleans(), st.booleans(),
    )  # fmt: skip
    safety = st.builds(
        lambda node, about, units: Rule(kind=SAFETY, node=node, units=units, **about),
        some | st.just(""), goods, UNITS,
    )  # fmt: skip
    share = st.builds(
        lambda kind, to, about, units: Rule(kind=kind, channel=to, units=units, **about),
        st.sampled_from([CAP, GUARANTEE, THRESHOLD]), channel, goods, UNITS,
    )  # fmt: skip
    rules = draw(st.lists(shown | safety | share, max_size=6, unique_by=_subject))
    where = Outlets(nodes, rules)
    free = draw(st.lists(UNITS, min_size=count, max_size=count))
    promised = draw(st.dictionaries(channel, UNITS, max_size=3))
    held = draw(st.dictionaries(channel, UNITS, max_size=2))
    return where, position(where, free, *rules, promised=promised, held=held)


@given(worlds(), st.sampled_from(CHANNELS), st.sampled_from(list(DeliveryMethod)))
def test_it_is_never_negative_nor_more_than_the_nodes_can_spare(
    world: tuple[Outlets, Position], channel: str, method: DeliveryMethod
) -> None:
    where, here = world
    units, each = to_sell(where, here, channel, method), at_nodes(where, here, channel, method)
    assert units >= 0
    assert (each >= 0).all()
    spare = spared(where, here, channel, method)
    assert (each <= spare).all()
    assert (spare <= np.maximum(here.free - here.safety, 0)).all()
    assert units <= spare.sum()


@given(worlds(), st.sampled_from(CHANNELS))
def test_what_is_sold_can_be_kept_with_all_that_was_promised(
    world: tuple[Outlets, Position], channel: str
) -> None:
    """By brute force: a plan exists that gives every channel its units from nodes that it sees."""
    where, here = world
    if not _can_keep(where, here, here.promised):
        return
    units = to_sell(where, here, channel, SHIP)
    more = {**here.promised, channel: here.promised.get(channel, 0) + units}
    assert _can_keep(where, here, more)
    limited = any(rule.kind is not VISIBILITY and rule.kind is not SAFETY for rule in here.rules)
    if not limited:
        assert not _can_keep(where, here, {**more, channel: more[channel] + 1}), "it sells all"
    for node, most in zip(here.nodes, at_nodes(where, here, channel, PICKUP), strict=True):
        after = here.on_hand.copy()
        after[node] -= most
        assert _can_keep(where, replace(here, on_hand=after), here.promised)


def _can_keep(where: Outlets, here: Position, promised: Mapping[str, int]) -> bool:
    """Hall's condition over channels, each on its own: not the audiences of the code."""
    for size in range(1, len(promised) + 1):
        for some in combinations(promised, size):
            seen = np.logical_or.reduce([where.offers(c, SHIP)[here.nodes] for c in some])
            spare = np.maximum(here.free - here.safety, 0)
            if sum(promised[c] for c in some) > int((spare * seen).sum()):
                return False
    return True


@given(worlds(), st.integers(1, 9))
def test_more_safety_stock_never_sells_more(world: tuple[Outlets, Position], more: int) -> None:
    where, here = world
    safer = replace(here, safety=here.safety + more)
    for channel in CHANNELS:
        for method in DeliveryMethod:
            assert to_sell(where, safer, channel, method) <= to_sell(where, here, channel, method)
