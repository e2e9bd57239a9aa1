"""A condition is refused where it is written, with the place; evaluated, it raises nothing."""

from datetime import UTC, datetime
from typing import Any

import pytest

from domain.orders import Address, Line
from domain.rules.conditions import Facts, Flawed, condition
from domain.rules.facts import FIELDS, SCOPES
from domain.rules.sets import MOST_CHARACTERS
from tests.domain.rules.written import a_case
from tests.samples import a_node, an_order


def known(text: str, **facts: Any) -> Facts:
    named = {name.replace("__", "."): value for name, value in facts.items()}
    return Facts({name: named[name] for name in sorted(condition(text).reads)})


@pytest.mark.parametrize(
    ("text", "line", "column", "told"),
    [
        ("order.totl > 5", 1, 6, "did you mean order.total_minor?"),
        ("nonsense == 5", 1, 1, "there is no nonsense"),
        ("order == 5", 1, 1, "there is no order"),
        ("node.kind == 5", 1, 11, "'(string, int)'"),
        ("node.kind == 'dc' &&\n  order.units > 'a'", 2, 15, "'(int, string)'"),
        ("order.units >", 1, 14, "Syntax error"),
        ("order.units = 1 and node.ships", 1, 13, "CEL writes ==, && and ||"),
        ("order.units > '1'", 1, 13, "numbers bare, texts in quotes"),
        ("order.channel == 'é' && order.x", 1, 30, "there is no order.x"),
        ("order.units.of > 1", 1, 12, "select operation"),
        ("'x' in order.channel", 1, 5, "'(string, string)'"),
        ("order.units", 1, 1, "is of type int; a condition must be true or false"),
        ("dyn(order.units) > 'x'", 1, 1, "dyn() is not there"),
        ("node.kind == 'stroe'", 1, 14, "did you mean store?"),
        ("'vendors' != node.kind", 1, 1, "did you mean vendor?"),
        ("order.units > 1 ||\n node.kind in ['dc', 'van']", 2, 22, "dc, store, 3pl, vendor, micro"),
        ("order.method == 'delivery'", 1, 17, "it is one of ship, pickup"),
        ("timestamp('Friday') < now", 1, 1, "cannot be read; write such as"),
        ("now - order.placed_at > duration('2 days')", 1, 25, "cannot be read"),
        ("foo(order.units)", 1, 4, "there is no foo"),
        ("", 1, 1, "Syntax error"),
        ("(" * 40 + "true" + ")" * 40, 1, 1, "nested too deeply"),
        ("true || " * MOST_CHARACTERS + "true", 1, 1, "longer than 1000 characters"),
        ("order.skus.exists(s,\norder.skus.exists(t, s == t))", 2, 12, "a second list"),
        ("node.ships && node.code.matches ('^DC')", 1, 25, "use startsWith"),
        ("\ud800", 1, 1, "not an expression"),
    ],
)
def test_a_condition_that_cannot_be_is_refused_where_it_is_wrong(
    text: str, line: int, column: int, told: str
) -> None:
    with pytest.raises(Flawed) as refused:
        condition(text)
    flaw = refused.value.flaws[0]
    assert (flaw.line, flaw.column) == (line, column)
    assert told in flaw.message
    assert f"line {line}, column {column}" in flaw.message


def test_every_flaw_of_a_condition_is_told() -> None:
    with pytest.raises(Flawed) as refused:
        condition("order.a == 1 ||\nnode.b == 2")
    assert [(flaw.line, flaw.column) for flaw in refused.value.flaws] == [(1, 6), (2, 5)]


def test_a_condition_knows_what_it_reads_however_it_is_written() -> None:
    asked = condition("node . kind == 'order.units' && order\n.channel in ['a', node.code]")
    assert asked.reads == {"node.kind", "node.code", "order.channel"}
    assert asked.speaks_of("node")
    assert not asked.speaks_of("line")
    shadowed = condition("['a'].exists(code, code == node.kind)")
    assert shadowed.reads == {"node.kind"}
    assert condition("product.category == 'shoes'").speaks_of("line")
    assert condition("true").reads == frozenset()


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("order.units / order.lines > 1", {"order__units": 1, "order__lines": 0}),
        ("order.units * 9223372036854775807 > 1", {"order__units": 2}),
        ("duration(order.channel) > duration('1h')", {"order__channel": "web"}),
        ("timestamp(order.channel) > now", {"order__channel": "x", "now": datetime.now(UTC)}),
        ("int(order.channel) > 1", {"order__channel": "x"}),
        ("order.units > 1", {"order__units": 2**70}),
        ("order.channel == 'x'", {"order__channel": "\ud800"}),
        ("node.units / 0 == 1", {"node__units": 2}),
    ],
)
def test_what_cannot_be_evaluated_is_told_and_raises_nothing(
    text: str, facts: dict[str, Any]
) -> None:
    for _ in range(2):
        answer = condition(text).holds(known(text, **facts))
        assert isinstance(answer, str)
        assert answer


def test_a_walk_beyond_its_limit_is_an_error_not_a_wait() -> None:
    text = "order.skus.exists(sku, sku == 'none')"
    answer = condition(text).holds(known(text, order__skus=["a"] * 20_000))
    assert isinstance(answer, str)
    assert condition(text).holds(known(text, order__skus=["a"] * 1000)) is False


def test_an_answer_is_remembered_for_just_these_facts() -> None:
    text = "node.units > order.units"
    answers = [
        condition(text).holds(known(text, node__units=have, order__units=want))
        for have, want in [(1, 2), (2, 1), (1, 2), (2, 2)]
    ]
    assert answers == [False, True, False, False]
    assert condition(text) is condition(text)


def test_every_field_is_read_as_the_type_that_it_says() -> None:
    order = an_order(
        ship_to=Address(postal_code="75202", country="US"),
        lines=(Line(line_id="1", sku="A", quantity=2, unit_price_minor=500),),
    )
    case = a_case(order, a_node("DC-A"))
    subjects = {"order": None, "line": case.units[0], "node": case.snapshot.nodes[0]}
    literal = {
        "string": "== ''",
        "int": "== 0",
        "bool": "== true",
        "timestamp": "== timestamp('2026-01-01T00:00:00Z')",
        "list(string)": "== ['']",
    }
    for name, field in FIELDS.items():
        fact = field.read(case, subjects[SCOPES[name]])
        text = f"{name} == '{field.among[0]}'" if field.among else f"{name} {literal[field.type]}"
        assert condition(text).reads == {name}
        assert isinstance(condition(text).holds(Facts({name: fact})), bool), name
        assert not field.among or fact in field.among
        assert field.says
