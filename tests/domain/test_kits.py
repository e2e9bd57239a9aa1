from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from domain.fulfillments import LineQuantity
from domain.kits import as_sold, kit_buckets, sold_of, units_of
from domain.lifecycle import received, split, with_lines
from domain.network import Component, Kit
from domain.orders import Bucket, DeliveryMethod, Line, LineState, Order, PartOf
from domain.promises import Promise, PromisedPackage, keep
from domain.records import OrderState
from domain.sourcing.problem import Assignment, Candidate, CostParts, Demand, Plan, Problem
from tests.samples import NOON, an_order

GIFT = Kit(sku="GIFT", components=(Component(sku="A"), Component(sku="B", quantity=2)))


def an_order_of(*lines: Line) -> Order:
    return an_order(lines=lines)


def state_of(order: Order, kit: Kit = GIFT) -> OrderState:
    skus = {line.line_id: line.sku for line in order.lines}
    of_kits = {line.line_id: kit for line in order.lines if line.sku == kit.sku}
    return with_lines(received(order), order, skus, of_kits)


def moved(state: OrderState, to: Bucket, **units: int) -> tuple[LineState, ...]:
    names = {name.replace("_", "/"): n for name, n in units.items()}
    return tuple(x.moved(Bucket.OPEN, to, names.get(x.line_id, 0)) for x in state.lines)


def test_a_line_of_kits_stands_as_its_components_lines() -> None:
    order = an_order_of(
        Line(line_id="1", sku="GIFT", quantity=2), Line(line_id="2", sku="A", quantity=1)
    )
    lines = state_of(order).lines
    assert [(x.line_id, x.sku, x.ordered) for x in lines] == [
        ("1/1", "A", 2), ("1/2", "B", 4), ("2", "A", 1),
    ]  # fmt: skip
    again = with_lines(state_of(order), order, {"1": "GIFT", "2": "A"}, {"1": GIFT})
    assert again.lines == lines


def test_a_line_that_the_channel_named_like_a_component_keeps_its_name() -> None:
    order = an_order_of(
        Line(line_id="1", sku="GIFT", quantity=1), Line(line_id="1/1", sku="A", quantity=1)
    )
    assert [x.line_id for x in state_of(order).lines] == ["1//1", "1//2", "1/1"]


def test_an_order_keeps_the_recipe_by_which_its_units_move() -> None:
    order = an_order_of(Line(line_id="1", sku="GIFT", quantity=1))
    state = state_of(order)
    begun = state.model_copy(update={"lines": moved(state, Bucket.RESERVED, **{"1_1": 1})})
    other = Kit(sku="GIFT", components=(Component(sku="C"),))
    assert with_lines(begun, order, {"1": "GIFT"}, {"1": other}).lines == begun.lines
    assert with_lines(begun, order, {"1": "GIFT"}).lines == begun.lines
    assert [x.sku for x in with_lines(state, order, {"1": "GIFT"}, {"1": other}).lines] == ["C"]


def test_units_say_how_many_whole_kits_they_make() -> None:
    state = state_of(an_order_of(Line(line_id="1", sku="GIFT", quantity=3)))
    some = [LineQuantity(line_id="1/1", quantity=3), LineQuantity(line_id="1/2", quantity=5)]
    assert [unit.kit.kits for unit in units_of(state.lines, some) if unit.kit] == [2, 2]
    assert [unit.kit for unit in units_of(state.lines, some[:1])] == [None]
    assert sold_of(state.lines, some) == (LineQuantity(line_id="1", quantity=2),)


def test_what_has_left_is_told_in_whole_kits() -> None:
    state = state_of(
        an_order_of(
            Line(line_id="1", sku="GIFT", quantity=2), Line(line_id="2", sku="A", quantity=1)
        )
    )
    first = moved(state, Bucket.SHIPPED, **{"1_1": 2, "1_2": 1, "2": 1})
    went = [LineQuantity(line_id="1/1", quantity=2), LineQuantity(line_id="2", quantity=1)]
    told = as_sold(state.lines, first, went, Bucket.SHIPPED)
    assert told == (LineQuantity(line_id="2", quantity=1),)
    again = moved(state.model_copy(update={"lines": first}), Bucket.SHIPPED, **{"1_2": 3})
    told = as_sold(first, again, (), Bucket.SHIPPED)
    assert told == (LineQuantity(line_id="1", quantity=2),)


def test_a_kit_is_where_its_last_component_is_and_cancelled_once_one_is() -> None:
    state = state_of(an_order_of(Line(line_id="1", sku="GIFT", quantity=3)))
    parts = moved(state, Bucket.SHIPPED, **{"1_1": 3, "1_2": 2})
    assert kit_buckets(parts) == {Bucket.OPEN: 2, Bucket.SHIPPED: 1}
    short = tuple(
        x.moved(Bucket.OPEN, Bucket.CANCELLED, 2) if x.line_id == "1/2" else x for x in parts
    )
    assert kit_buckets(short) == {Bucket.CANCELLED: 1, Bucket.OPEN: 1, Bucket.SHIPPED: 1}


@given(
    price=st.integers(0, 10_000),
    kits=st.integers(1, 4),
    per_kit=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    data=st.data(),
)
def test_the_price_of_kits_is_shared_out_to_the_cent(
    price: int, kits: int, per_kit: list[int], data: st.DataObject
) -> None:
    parts = tuple(Component(sku=f"P{n}", quantity=units) for n, units in enumerate(per_kit))
    order = an_order_of(Line(line_id="1", sku="GIFT", quantity=kits, unit_price_minor=price))
    state = state_of(order, Kit(sku="GIFT", components=parts))
    at_first = {x.line_id: data.draw(st.integers(0, x.ordered)) for x in state.lines}
    rest = {x.line_id: x.ordered - at_first[x.line_id] for x in state.lines}
    packages = [package(units) for units in (at_first, rest) if any(units.values())]
    assert sum(f.goods_minor for f in split(state, order, packages)) == price * kits


def test_a_promise_is_kept_with_each_kit_whole() -> None:
    kit = PartOf(line_id="2", sku="GIFT", kits=1, per_kit=1)
    problem = Problem(
        order_id="o",
        round=1,
        as_of=NOON,
        currency="USD",
        promise_by=None,
        demands=(
            Demand(line_id="1", sku="A", quantity=1, weight_g=1),
            Demand(line_id="2/1", sku="A", quantity=1, weight_g=1, kit=kit),
            Demand(line_id="2/2", sku="B", quantity=1, weight_g=1, kit=kit),
        ),
        candidates=tuple(candidate(node) for node in ("N0", "N1")),
    )
    kept = keep(promised({"A": 1, "B": 1}, {"A": 1}), problem, NOON)
    assert isinstance(kept, Plan)
    assert [[line.line_id for line in a.lines] for a in kept.assignments] == [["2/1", "2/2"], ["1"]]
    parted = keep(promised({"A": 2}, {"B": 1}), problem, NOON)
    assert parted == "the packages do not keep each kit whole"


def candidate(node: str) -> Candidate:
    return Candidate(
        node=node,
        kind="dc",
        miles=1,
        stock={"A": 2, "B": 1},
        capacity_left=None,
        order_cost_minor=0,
        unit_cost_minor=0,
        options=(),
    )


def promised(*packages: dict[str, int]) -> Promise:
    return Promise(
        token="t",
        channel="web",
        method=DeliveryMethod.SHIP,
        destination="US",
        units={"A": 2, "B": 1},
        packages=tuple(
            PromisedPackage(
                node=f"N{number}",
                service="ground",
                carrier="ups",
                units=units,
                ship_by=NOON,
                deliver_by=NOON,
                cost=CostParts(),
            )
            for number, units in enumerate(packages)
        ),
        deliver_by=NOON,
        cutoff=NOON + timedelta(hours=1),
        quoted_at=NOON,
        expires_at=NOON,
    )


def package(units: dict[str, int]) -> Assignment:
    return Assignment(
        node="N",
        service="ground",
        carrier="ups",
        lines=tuple(LineQuantity(line_id=x, quantity=n) for x, n in units.items() if n),
        ship_by=NOON,
        deliver_by=NOON,
        cost=CostParts(),
    )
