"""Names that a rule set speaks of: what its conditions compare fields with, word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from domain.rules.sets import RuleSet

Of = Literal["channel", "node", "SKU", "handling class"]

_TEXT: Final = r"""(?:"[^"\\]*"|'[^'\\]*')"""
_FIELD: Final = r"(?<![\w.])(?P<field>[a-z]+\.[a-z_]+)\b"
_FORMS: Final = tuple(
    re.compile(form)
    for form in (
        rf"{_FIELD}\s*[=!]=\s*(?P<said>{_TEXT})",
        rf"(?P<said>{_TEXT})\s*[=!]=\s*{_FIELD}",
        rf"{_FIELD}\s+in\s+(?P<said>\[[^\]]*\])",
        rf"(?P<said>{_TEXT})\s+in\s+{_FIELD}",
    )
)
_NAMED_BY: Final[dict[str, Of]] = {
    "order.channel": "channel",
    "order.pickup_node": "node",
    "order.skus": "SKU",
    "order.handling_classes": "handling class",
    "line.sku": "SKU",
    "product.handling_class": "handling class",
    "node.code": "node",
    "node.handling_classes": "handling class",
}


class Compared(NamedTuple):
    """A field, and a text that it is compared with; `at` is where that stands, from 0."""

    field: str
    text: str
    at: int


class Named(NamedTuple):
    """A name of something that should be there; `path` is as in `Flaw.field`."""

    of: Of
    name: str
    path: str


def compared(condition: str) -> list[Compared]:
    """What a condition compares with texts that stand in it, in their order."""
    every = (found for form in _FORMS for found in form.finditer(condition))
    all_of_them = [
        Compared(found["field"], text[0][1:-1], found.start("said") + text.start())
        for found in every
        for text in re.finditer(_TEXT, found["said"])
    ]
    return sorted(all_of_them, key=lambda one: one.at)


def named(rules: RuleSet) -> Iterator[Named]:
    """Channels, nodes, SKUs and handling classes that the set speaks of by their names."""
    for i, profile in enumerate(rules.profiles):
        path = f"profiles.{i}"
        for j, channel in enumerate(profile.channels):
            yield Named("channel", channel, f"{path}.channels.{j}")
        for j, rule in enumerate(profile.rules):
            if rule.kind == "capability":
                yield Named("handling class", rule.what, f"{path}.rules.{j}.what")
            yield from _in(rule.when, f"{path}.rules.{j}.when")
        for name, outcomes in profile.outcomes.named():
            for j, outcome in enumerate(outcomes):
                yield from _in(outcome.when, f"{path}.outcomes.{name}.{j}.when")


def _in(when: str, path: str) -> Iterator[Named]:
    for one in compared(when):
        if one.text and (of := _NAMED_BY.get(one.field)):
            yield Named(of, one.text, path)
