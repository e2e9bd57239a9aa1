"""Conditions in CEL: typed by the fields of `facts`, checked with positions, and never raising."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property, lru_cache
from threading import Lock
from typing import Any, Final
from weakref import WeakKeyDictionary

from cel_expr_python import cel

from domain.errors import Invalid
from domain.rules.facts import FIELDS, SCOPES, Fact, Scope
from domain.rules.names import compared
from domain.rules.sets import MOST_CHARACTERS
from domain.values import Value

_MOST_TOLD: Final = 5
_TYPES: Final = {
    "string": cel.Type.STRING,
    "int": cel.Type.INT,
    "bool": cel.Type.BOOL,
    "timestamp": cel.Type.TIMESTAMP,
    "list(string)": cel.Type.List(cel.Type.STRING),
}
_FOUND: Final = re.compile(
    r"ERROR: <input>:(\d+):(\d+): (.*?)(?=\n \||\nERROR: | \[[A-Z_]+\]$)", re.DOTALL
)
_UNKNOWN: Final = re.compile(r"undeclared reference to '([^']*)'")
_WALK: Final = re.compile(r"\b(?:all|exists|exists_one|map|filter)\b(?:\s|//[^\n]*\n)*\(")
_PATTERN: Final = re.compile(r"\bmatches\b(?:\s|//[^\n]*\n)*\(")
_UNTYPED: Final = re.compile(r"\bdyn\b(?:\s|//[^\n]*\n)*\(")
_CONSTANT: Final = re.compile(r"""\b(?:timestamp|duration)\(\s*(?:"[^"\\]*"|'[^'\\]*')\s*\)""")
_STATUS: Final = re.compile(r"^[A-Z_]+: ")


class Flaw(Value):
    """
    What is wrong with a rule set, and the cure. `field` is the path to the value, such as
    `profiles.0.rules.2.when`; `line` and `column` are the position in a condition, from 1.
    """

    field: str
    message: str
    line: int | None = None
    column: int | None = None
    row: int | None = None

    def __str__(self) -> str:
        where = f"line {self.row}: " if self.row else ""
        return f"{where}{self.field}: {self.message}" if self.field else f"{where}{self.message}"


class Flawed(Invalid):
    """A rule set that cannot be kept, or not be used; `flaws` are all that were found."""

    def __init__(self, flaws: Collection[Flaw], *, code: str | None = None) -> None:
        self.flaws = tuple(flaws)
        more = len(self.flaws) - _MOST_TOLD
        told = "; ".join(str(flaw) for flaw in self.flaws[:_MOST_TOLD])
        super().__init__(f"{told}; and {more} more" if more > 0 else told, code=code)


class Facts:
    """
    What is known where a condition is evaluated; conditions that read the same share it. `cost` is
    of one evaluation: lists may be walked through.
    """

    def __init__(self, known: Mapping[str, Fact]) -> None:
        self.known = known
        self.key = tuple(tuple(v) if isinstance(v, list) else v for v in known.values())

    @cached_property
    def cost(self) -> int:
        return 1 + sum(len(value) for value in self.known.values() if isinstance(value, list))

    @cached_property
    def activation(self) -> cel.Activation:
        return _environment(None).Activation(dict(self.known))


class _Memory:
    """The answers of all conditions, forgotten together when they are too many; for any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known = 0
        self._parts: WeakKeyDictionary[object, dict[tuple[object, ...], bool | str]]
        self._parts = WeakKeyDictionary()
        self._lock = Lock()

    def share(self, answers: dict[tuple[object, ...], bool | str], owner: object) -> None:
        with self._lock:
            self._parts[owner] = answers

    def count_one(self) -> None:
        self._known += 1
        if self._known > self._most:
            with self._lock:
                self._known = 0
                for answers in list(self._parts.values()):
                    answers.clear()


_MEMORY: Final = _Memory(200_000)


class Condition:
    """
    A condition that may be evaluated. `reads` are the fields that it speaks of: where they are
    equal so is the answer, which is therefore remembered.
    """

    def __init__(self, text: str, expression: cel.Expression, reads: frozenset[str]) -> None:
        self.text = text
        self.reads = reads
        self._expression = expression
        self._repeats = self.speaks_of("node") or self.speaks_of("line")
        self._answers: dict[tuple[object, ...], bool | str] = {}
        _MEMORY.share(self._answers, self)

    def speaks_of(self, scope: Scope) -> bool:
        return any(SCOPES[field] == scope for field in self.reads)

    def holds(self, facts: Facts) -> bool | str:
        """
        Whether it is so; what went wrong where that cannot be said (a division by zero). The facts
        are those that it reads, in the order of their names.
        """
        if not self._repeats:
            return self._evaluated(facts)
        answer = self._answers.get(facts.key)
        if answer is None:
            _MEMORY.count_one()
            answer = self._answers[facts.key] = self._evaluated(facts)
        return answer

    def _evaluated(self, facts: Facts) -> bool | str:
        try:
            value = self._expression.eval(facts.activation).plain_value()
        except Exception as failed:  # noqa: BLE001 - whatever it is, the order goes on
            return _short(str(failed))
        return value if isinstance(value, bool) else _short(str(value))


@lru_cache(maxsize=1024)
def condition(text: str) -> Condition:
    """The condition, checked. Raises Flawed, each flaw with its position and no field."""
    if len(text) > MOST_CHARACTERS:
        raise Flawed([_flaw(text, 1, 1, f"longer than {MOST_CHARACTERS} characters; split it")])
    for found, cure in (
        (list(_WALK.finditer(text))[1:], "walks through a second list; split it into two rules"),
        # A pattern is compiled each time, which may take a thousand times as long as all the rest.
        (list(_PATTERN.finditer(text)), "matches() is not there; use startsWith, contains or in"),
        (list(_UNTYPED.finditer(text)), "dyn() is not there: types are checked; leave it out"),
    ):
        if found:
            raise Flawed([_flaw_at(text, found[0].start(), cure)])
    expression = _compiled(text)
    if expression.return_type() != cel.Type.BOOL:
        kind = expression.return_type().name().lower()
        message = f"is of type {kind}; a condition must be true or false, so compare it"
        raise Flawed([_flaw(text, 1, 1, message)])
    if flaws := list(_never(text)):
        raise Flawed(flaws)
    return Condition(text, expression, _reads(text))


def _never(text: str) -> Iterator[Flaw]:
    """What can be of no use: a text that the field never is, a moment that is none."""
    for field, said, at in compared(text):
        among = FIELDS[field].among if field in FIELDS else ()
        if among and said not in among:
            near = get_close_matches(said, among, n=1)
            cure = f"did you mean {near[0]}?" if near else f"it is one of {', '.join(among)}"
            yield _flaw_at(text, at, f'{field} is never "{said}"; {cure}')
    for found in _CONSTANT.finditer(text):
        value = _compiled(found[0]).eval(_environment(None).Activation({})).plain_value()
        if isinstance(value, str):  # what went wrong
            cure = 'write such as timestamp("2026-12-24T00:00:00Z"), duration("36h")'
            yield _flaw_at(text, found.start(), f"{found[0]} cannot be read; {cure}")


def _compiled(text: str) -> cel.Expression:
    try:
        return _environment(None).compile(text)
    except (RuntimeError, TypeError, ValueError) as error:
        said = str(error)
        found = [
            _flaw(text, int(line), int(column), _cure(message))
            for line, column, message in _FOUND.findall(said)
        ]
        whole = "nested too deeply" if "recursion" in said else "not an expression of CEL"
        raise Flawed(found or [_flaw(text, 1, 1, whole)]) from error


def _reads(text: str) -> frozenset[str]:
    """The fields without which it would not be understood."""
    named = (field for field in FIELDS if field.rpartition(".")[2] in text)
    return frozenset(field for field in named if not _understood(text, without=field))


def _understood(text: str, *, without: str) -> bool:
    try:
        _environment(without).compile(text)
    except RuntimeError:
        return False
    return True


@lru_cache(maxsize=len(FIELDS) + 1)
def _environment(without: str | None) -> cel.Env:
    """The fields of `facts`, each a variable of its own type; all of them or all but one."""
    types = {name: _TYPES[field.type] for name, field in FIELDS.items() if name != without}
    return cel.NewEnv(variables=types)


def _cure(message: str) -> str:
    unknown = _UNKNOWN.match(message)
    if unknown is None:
        told = _short(message.partition(" expecting {")[0])
        cures = (cure for begins, cure in _CURES.items() if begins in message)
        return f"{told}{next(cures, '')}"
    name = unknown.group(1)
    near: Any = get_close_matches(name, FIELDS, n=1, cutoff=0.5)
    fields = f"did you mean {near[0]}?" if near else "see the fields that rules may speak of"
    return f"there is no {name}; {fields}"


# By what the compiler says, what a person meant most often.
_CURES: Final[Mapping[str, str]] = {
    "Syntax error": "; CEL writes ==, && and ||, and texts in quotes",
    "no matching overload": "; both sides are to be of one type: numbers bare, texts in quotes",
}


def _flaw(text: str, line: int, column: int, message: str) -> Flaw:
    rows = text.split("\n")
    shown = rows[line - 1].strip() if line <= len(rows) else ""
    told = f"line {line}, column {column}: {message}; in: {_short(shown)}"
    return Flaw(field="", message=told, line=line, column=column)


def _flaw_at(text: str, at: int, message: str) -> Flaw:
    before = text[:at]
    return _flaw(text, before.count("\n") + 1, len(before) - before.rfind("\n"), message)


def _short(message: str) -> str:
    told = " ".join(_STATUS.sub("", message).split())
    return told if len(told) <= 160 else f"{told[:157]}…"  # noqa: PLR2004
