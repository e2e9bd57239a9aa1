"""A rule set is written as YAML and reads back equal; what is wrong is told with its line."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.rules.checks import FORMS
from domain.rules.conditions import Flawed
from domain.rules.differences import differences
from domain.rules.documents import dump, load
from domain.rules.sets import RuleSet
from domain.sourcing.policy import PROFILES
from tests.domain.rules.written import WAITS, a_profile, a_rule, rules

WRITTEN = """\
name: web
owner: ann
profiles:
  - name: all
    rules:
      - name: near
        kind: exclude
        when: >-
          node.kind == "store" &&
          node.miles > 500
      - {name: few, kind: max_nodes, value: 2}
    outcomes:
      partial:
        - {allocate: true, then: backorder, cancel_after: P14D}
      nothing:
        - then: queue
          queue: care
"""

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=40)
WORDS = TEXTS.filter(lambda text: len(text) > 0)
NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,10}", fullmatch=True)
DAYS = st.dates().filter(lambda day: 1990 <= day.year < 2200)
WHENS = st.sampled_from(
    ["", 'order.channel == "no"', "order.units > 3 &&\n  order.priority < 5", "'yes: #' == ''"]
)
SPANS = st.tuples(DAYS, DAYS).map(lambda d: {"first": min(d), "last": max(d)})
DATES = st.fixed_dictionaries({}, optional={"first": DAYS, "blackout": st.lists(SPANS, max_size=2)})


def a_rule_of(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    form = FORMS[kind]  # type: ignore[index]  # of its own keys
    needed: dict[str, Any] = {"name": NAMES, "kind": st.just(kind), "when": WHENS}
    if form.nodes == "must":
        needed["when"] = st.just('node.kind == "store"')
    if form.value == "must":
        needed["value"] = st.integers(form.least, form.most or 10**9)
    if form.what == "must":
        needed["what"] = WORDS
    return st.fixed_dictionaries(
        needed, optional={"dates": DATES, "on_error": st.sampled_from(["skip", "apply"])}
    )


RULES = st.lists(
    st.sampled_from(sorted(FORMS)).flatmap(a_rule_of), max_size=4, unique_by=lambda r: r["name"]
)
WAITING = st.fixed_dictionaries(
    {"then": st.just("queue"), "queue": WORDS},
    optional={"cancel_after": st.timedeltas(timedelta(0), timedelta(days=365))},
)
SETS = st.builds(
    lambda name, owner, note, channel, more, kept, weights, waits: rules(
        name,
        a_profile(
            "one",
            *kept,
            channels=[channel],
            weights=weights,
            outcomes={"partial": [{**WAITS, "when": "order.units > 1"}, waits], "nothing": [waits]},
        ),
        owner=owner,
        note=note,
        **more,
    ),
    NAMES,
    WORDS,
    TEXTS,
    WORDS,
    st.fixed_dictionaries({}, optional={"dates": DATES, "entry": st.booleans()}),
    RULES,
    st.dictionaries(st.sampled_from(sorted(PROFILES["margin"].model_dump())), st.integers(0, 999)),
    WAITING,
)


@settings(max_examples=40)
@given(SETS)
def test_what_is_written_reads_back_equal(made: RuleSet) -> None:
    assert load(dump(made)) == made
    assert RuleSet.model_validate_json(made.model_dump_json()) == made
    assert differences(made, load(dump(made))) == ()


def test_a_document_of_a_person_is_read_and_written_as_it_was_meant() -> None:
    made = load(WRITTEN)
    rule = made.profiles[0].rules[0]
    assert rule.when == 'node.kind == "store" && node.miles > 500'
    assert made.profiles[0].outcomes.partial[0].cancel_after == timedelta(days=14)
    assert "cancel_after: P14D" in dump(made)
    assert load(dump(made)) == made
    folder = Path(__file__).parents[3] / "cli"
    for file in folder.glob("sample_rules*.yaml"):
        assert load(dump(load(file.read_text()))) == load(file.read_text())


@pytest.mark.parametrize(
    ("change", "row", "field", "told"),
    [
        (("max_nodes", "max_node"), 11, "profiles.0.rules.1.kind", "Input should be"),
        (("value: 2", "value: two"), 11, "profiles.0.rules.1.value", "a whole number"),
        (("value: 2", "value: [2]"), 11, "profiles.0.rules.1.value", "a whole number"),
        (("owner: ann", "owner: 7"), 2, "owner", "is to be a text"),
        (("name: web", "name: Web"), 1, "name", "of small letters"),
        (("owner: ann", "owner: ann\ndates: {first: soon}"), 3, "dates.first", "no day"),
        (("owner: ann", "owner: ann\ndates: [a]"), 3, "dates", "fields of its own"),
        (("owner: ann", "owner: ann\nentry: 'no'"), 3, "entry", "true or false"),
        (("owner: ann", "owner: ann\nprofles: []"), 3, "profles", "did you mean profiles?"),
        (("owner: ann\n", ""), 1, "owner", "is missing"),
        (("owner: ann", "ower: ann"), 2, "ower", "there is no such field"),
        (("        kind: exclude\n", ""), 6, "profiles.0.rules.0.kind", "is missing"),
        (("node.miles", "node.mils"), 8, "profiles.0.rules.0.when", "column 29"),
        (("then: backorder", "then: wait"), 14, "profiles.0.outcomes.partial.0.then", "'next'"),
        (("          queue: care", ""), 16, "profiles.0.outcomes.nothing.0.queue", "must name one"),
        (("P14D", "fortnight"), 14, "profiles.0.outcomes.partial.0.cancel_after", "no duration"),
        (("owner: ann", "owner: ann\nowner: bob"), 3, "owner", "twice"),
        (("kind: exclude", "name: near"), 7, "profiles.0.rules.0.name", "twice"),
        (("owner: ann", "owner: !!python/name:os.system x"), 2, "", "has a tag"),
        (("owner: ann", "owner: &a ann\nnote: *a"), 3, "", "refers to another part"),
        (("owner: ann", "owner: [ann"), 3, "", "not YAML"),
        (("owner: ann", "owner: ann\n<<: {note: x}"), 3, "<<", "no name"),
        (("owner: ann", "owner: ann\n? [a]\n: b"), 3, "", "no name"),
        (("owner: ann", "owner: ann\nnote: 2026-02-30"), 3, "note", "cannot be read"),
        (("owner: ann", 'owner: "a\\0b"'), 2, "owner", "cannot be kept"),
        (("owner: ann", "owner: \x07"), None, "", "not YAML"),
        (("owner: ann", "owner: ann\nnote: " + "[" * 20 + "]" * 20), 3, "", "too deeply"),
        ((WRITTEN, ""), 1, "", "empty"),
        ((WRITTEN, "- a"), 1, "", "begins with its `name:`"),
        ((WRITTEN, "a: b\n---\nc: d"), 2, "", "not YAML"),
        ((WRITTEN, "#" * 300_000), None, "", "larger than 256 KiB"),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_field(
    change: tuple[str, str], row: int | None, field: str, told: str
) -> None:
    with pytest.raises(Flawed) as refused:
        load(WRITTEN.replace(*change))
    flaw = refused.value.flaws[0]
    assert (flaw.row, flaw.field) == (row, field)
    assert told in flaw.message
    if row:
        assert str(flaw).startswith(f"line {row}: ")


@given(st.text(max_size=60))
def test_no_document_breaks_the_reader(text: str) -> None:
    with pytest.raises(Flawed):
        load(text)


def test_a_difference_names_the_part() -> None:
    near = a_rule("near", "exclude", "node.miles > 500")
    few = a_rule("few", "max_nodes", value=2)
    before = rules(
        "web", a_profile("a", near, few, methods=["ship"]), a_profile("b", methods=["pickup"])
    )
    after = rules(
        "web",
        a_profile(
            "a", {**few, "value": 3}, a_rule("whole", "ship_complete_order"), near, methods=["ship"]
        ),
        note="fewer",
    )
    found = {one.path: (one.change, one.before, one.after) for one in differences(before, after)}
    added = found.pop("profiles[a].rules[whole]")
    assert (added[0], added[2]["kind"]) == ("added", "ship_complete_order")
    removed = found.pop("profiles[b]")
    assert (removed[0], removed[1]["methods"]) == ("removed", ["pickup"])
    assert found == {
        "note": ("changed", "", "fewer"),
        "profiles[a].rules[few].value": ("changed", 2, 3),
        "profiles[a].rules": ("moved", ["near", "few"], ["few", "near"]),
    }
    told = [str(one) for one in differences(before, after)]
    assert "~ profiles[a].rules[few].value: 2 → 3" in told
    assert "~ note: nothing → fewer" in told


def test_the_guide_shows_the_sample_rules_and_every_kind() -> None:
    root = Path(__file__).parents[3]
    guide = (root / "docs" / "rules.md").read_text()
    assert (root / "cli" / "sample_rules.yaml").read_text() in guide
    for kind, form in FORMS.items():
        value = {"no": "", "may": "`value`, maybe", "must": "`value`"}[form.value]
        said = "`what`" if form.what == "must" else value
        nodes, lines = (says if says != "no" else "" for says in (form.nodes, form.lines))
        assert f"| `{kind}` | {said} | {nodes} | {lines} | " in guide
