"""Rule sets as YAML: read with the line of what is wrong, written so that it reads back equal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, Final

import yaml
from pydantic import TypeAdapter, ValidationError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from domain.rules.checks import check
from domain.rules.conditions import Flaw, Flawed
from domain.rules.sets import Dates, Outcome, Outcomes, Profile, Rule, RuleSet

MOST_CHARACTERS: Final = 256 * 1024
_DEEPEST: Final = 12
_MOST_EVENTS: Final = 50_000
# The C parser, where PyYAML has it, is some ten times as fast; both answer the same.
_LOADER: Final = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_LINE_WIDTH: Final = 100
_DURATIONS: Final = TypeAdapter(timedelta)
_FIELDS: Final = tuple(
    dict.fromkeys(
        name
        for part in (RuleSet, Profile, Rule, Outcomes, Outcome, Dates)
        for name in part.model_fields
    )
)
# What pydantic says of a type, in the words of a document.
_WORDS: Final[Mapping[str, str]] = {
    "missing": "is missing; write it",
    "tuple_type": "is to be a list, such as [a, b]",
    "model_type": "is to have fields of its own, such as {name: a}",
    "dict_type": "is to have fields of its own, such as {shipping: 50}",
    "int_type": "is to be a whole number, without quotes",
    "bool_type": "is to be true or false, without quotes",
    "string_type": "is to be a text; put it in quotes",
    "string_pattern_mismatch": "is to be of small letters, digits and hyphens",
    "too_short": "is empty; write one at least",
    "time_delta": "is no duration; write such as P14D, or PT12H",
    "date": "is no day; write such as 2026-12-24",
}


def load(text: str) -> RuleSet:
    """
    The one rule set of a document, checked. Raises Flawed: each flaw with its line and field.

    Only plain values are read: no tags of Python's, no references to other parts, no second value
    under a name that was there.
    """
    if len(text) > MOST_CHARACTERS:
        message = f"larger than {MOST_CHARACTERS // 1024} KiB; split the rule set"
        raise Flawed([Flaw(field="", message=message)])
    root = _tree(text)
    sent = _values(root)
    if not isinstance(sent, dict):
        raise Flawed([Flaw(field="", row=1, message="a rule set begins with its `name:`")])
    try:
        rules = read(sent)
    except Flawed as flawed:
        raise Flawed([_placed(flaw, root) for flaw in flawed.flaws]) from flawed
    return rules


def read(sent: Mapping[Any, Any]) -> RuleSet:
    """The rule set that the values make, checked. Raises Flawed."""
    try:
        rules = RuleSet.model_validate(dict(sent))
    except ValidationError as error:
        # What is misspelt first: the field that is missing is often the same.
        told = sorted(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        found = [_flaw(dict(one)) for one in told]
        # A list of which every part is wrong is told as too short besides.
        within = {flaw.field.rpartition(".")[0] for flaw in found}
        inner = [f for f in found if not any(w.startswith(f"{f.field}.") for w in within)]
        raise Flawed(inner) from error
    check(rules)
    return rules


def dump(rules: RuleSet) -> str:
    """The rule set as a document, what is as by default left out."""
    return yaml.dump(
        _plain(rules.model_dump(mode="python", exclude_defaults=True)),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        width=_LINE_WIDTH,
    )


class _Dumper(yaml.SafeDumper):
    """
    Indents lists under their names; texts of several lines stand as they are, and so does what
    stands twice.
    """

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        super().increase_indent(flow, indentless=False)


def _text(dumper: yaml.SafeDumper, text: str) -> ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _plain(value: Any) -> Any:
    """What YAML writes by itself: a duration in the words of ISO 8601, no enumerations."""
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, timedelta):
        return _DURATIONS.dump_python(value, mode="json")
    return value


def _tree(text: str) -> Node:
    """The document's nodes, each with its place. Raises Flawed."""
    try:
        _refuse_references(text)
        root = _LOADER(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = error.problem or error.context
        message = f"not YAML: {said}; a condition inside {{ }} stands in quotes"
        raise Flawed([Flaw(field="", row=mark.line + 1 if mark else 1, message=message)]) from error
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        told = " ".join(str(error).split())[:200]
        raise Flawed([Flaw(field="", message=f"not YAML: {told}")]) from error
    if root is None:
        raise Flawed([Flaw(field="", row=1, message="empty; a rule set begins with its `name:`")])
    _refuse_repeated(root, "")
    return root


def _values(root: Node) -> Any:
    try:
        return yaml.SafeLoader("").construct_document(root)
    except (yaml.YAMLError, ValueError) as error:  # a day that is none, such as 2026-02-30
        field, node = _unreadable(root, "") or ("", root)
        told = " ".join(str(error).split())[:200]
        message = f"a value cannot be read: {told}; mend it, or put it in quotes"
        row = node.start_mark.line + 1
        raise Flawed([Flaw(field=field, row=row, message=message)]) from error


def _unreadable(node: Node, path: str) -> tuple[str, Node] | None:
    """The first value by itself that cannot be read, and its field."""
    if isinstance(node, ScalarNode):
        try:
            yaml.SafeLoader("").construct_document(node)
        except (yaml.YAMLError, ValueError):
            return path, node
    parts = (_unreadable(part, f"{path}.{name}".strip(".")) for name, part in _parts(node))
    return next((found for found in parts if found), None)


def _refuse_references(text: str) -> None:
    depth = 0
    for number, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        row = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            message = "refers to another part with *; write it out"
            raise Flawed([Flaw(field="", row=row, message=message)])
        tag = getattr(event, "tag", None)
        if tag not in {None, "!"}:
            raise Flawed([Flaw(field="", row=row, message=f"has a tag {tag}; leave it out")])
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST or number > _MOST_EVENTS:
            raise Flawed([Flaw(field="", row=row, message="nested too deeply, or too long")])


def _refuse_repeated(node: Node, path: str) -> None:
    for name, part in _parts(node):
        here = f"{path}.{name}".strip(".")
        _refuse_repeated(part, here)
    if isinstance(node, MappingNode):
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode) or key.value in seen or key.value == "<<":
                name = key.value if isinstance(key, ScalarNode) else ""
                field = f"{path}.{name}".strip(".")
                message = "stands there twice, or is no name; keep one"
                raise Flawed([Flaw(field=field, row=key.start_mark.line + 1, message=message)])
            seen.add(key.value)


def _parts(node: Node) -> Iterable[tuple[str, Node]]:
    if isinstance(node, MappingNode):
        return [(str(key.value), part) for key, part in node.value]
    if isinstance(node, SequenceNode):
        return [(str(number), part) for number, part in enumerate(node.value)]
    return []


def _placed(flaw: Flaw, root: Node) -> Flaw:
    """With the line of the value, or of what is nearest around it."""
    node, key = root, root
    for step in flaw.field.split("."):
        if isinstance(node, MappingNode):
            found = next(((k, v) for k, v in node.value if k.value == step), None)
        elif isinstance(node, SequenceNode) and step.isdigit() and int(step) < len(node.value):
            found = (node.value[int(step)],) * 2
        else:
            found = None
        if found is None:
            break
        key, node = found
    return flaw.model_copy(update={"row": key.start_mark.line + 1})


def _flaw(error: dict[str, Any]) -> Flaw:
    path = ".".join(str(part) for part in error["loc"])
    message = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        near = get_close_matches(path.rpartition(".")[2], _FIELDS, n=1)
        message = (
            f"there is no such field; {f'did you mean {near[0]}?' if near else 'leave it out'}"
        )
    kind = str(error["type"])
    for begins, words in _WORDS.items():
        if kind == begins or kind.startswith(f"{begins}_"):
            message = words
    if error["type"] == "value_error":
        name, colon, rest = message.partition(": ")
        if colon and name.replace("_", "").isalnum():
            path, message = f"{path}.{name}".strip("."), rest
    return Flaw(field=path, message=message)
