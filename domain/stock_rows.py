"""Reads what a file says of stock, line by line: a count for a SKU at a node, or what is wrong."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Final, Literal, NamedTuple

from domain.errors import Invalid

Format = Literal["csv", "ndjson"]

FIELDS: Final = ("sku", "node", "on_hand")
MOST_UNITS: Final = 10_000_000
_LONGEST_CODE: Final = 128
LONGEST_LINE: Final = 4096
_BOM: Final = b"\xef\xbb\xbf"


class StockRow(NamedTuple):
    """The first line of a file is line 1."""

    line: int
    sku: str
    node: str
    on_hand: int


class BadRow(NamedTuple):
    """`field` is the one to mend, empty where it is the line; `message` says what is wrong."""

    line: int
    field: str
    message: str


class _Bad(Exception):
    """`field` and what is wrong with it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


_Read = Callable[[str], tuple[str, str, str | int]]


def rows(lines: Iterable[bytes], form: Format) -> Iterator[StockRow | BadRow]:
    """
    Every line as a row or as what is wrong with it; empty lines are nothing. Reads as it goes.

    UTF-8, with or without a byte order mark, any line ends. CSV has a header that names the columns
    sku, node and on_hand, in any order; other columns are left alone. Raises Invalid where the
    header cannot be read, for then nothing can.
    """
    numbered = enumerate(_without_mark(lines), start=1)
    if form == "ndjson":
        read: _Read = _ndjson
    else:
        read = _csv(next(numbered, (1, b""))[1])
    for number, line in numbered:
        if line.strip():
            yield _row(number, line, read)


def _without_mark(lines: Iterable[bytes]) -> Iterator[bytes]:
    found = iter(lines)
    return chain((line.removeprefix(_BOM) for line in (next(found, b""),)), found)


def _row(number: int, line: bytes, read: _Read) -> StockRow | BadRow:
    if len(line) > LONGEST_LINE:
        return BadRow(number, "", f"the line is longer than {LONGEST_LINE} bytes")
    try:
        sku, node, on_hand = read(line.rstrip(b"\r\n").decode())
        return StockRow(number, _code("sku", sku), _code("node", node), _units(on_hand))
    except UnicodeDecodeError as error:
        return BadRow(number, "", f"byte {error.start + 1} is not UTF-8; save the file as UTF-8")
    except _Bad as bad:
        return BadRow(number, bad.field, str(bad))


def _csv(header: bytes) -> _Read:
    try:
        names = [name.strip().lower() for name in _split(header.rstrip(b"\r\n").decode())]
    except (UnicodeDecodeError, _Bad) as error:
        raise Invalid(f"line 1: the header cannot be read: {error}") from error
    twice = sorted({name for name in FIELDS if names.count(name) > 1})
    missing = [name for name in FIELDS if name not in names]
    if missing or twice:
        wrong = f"has no column {missing[0]}" if missing else f"names {twice[0]} twice"
        raise Invalid(f"line 1: the header {wrong}; it must be like sku,node,on_hand, with commas")
    sku, node, on_hand = (names.index(name) for name in FIELDS)
    width = len(names)

    def read(line: str) -> tuple[str, str, str | int]:
        found = _split(line)
        if len(found) != width:
            raise _Bad(
                "", f"{len(found)} fields where the header has {width}; quote fields with commas"
            )
        return found[sku], found[node], found[on_hand]

    return read


def _split(line: str) -> list[str]:
    if '"' not in line:
        return line.split(",")
    try:
        return next(csv.reader([line], strict=True))
    except (csv.Error, StopIteration) as error:
        raise _Bad(
            "", "a quote is not closed, or stands inside a field; double it there"
        ) from error


def _ndjson(line: str) -> tuple[str, str, str | int]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _Bad("", "not a JSON object on one line") from error
    if not isinstance(found, dict):
        raise _Bad("", "not a JSON object on one line")
    if unknown := sorted(found.keys() - set(FIELDS)):
        name = unknown[0][:_LONGEST_CODE]
        raise _Bad(name if name.isprintable() else "", "not a field: sku, node, on_hand are")
    for name in ("sku", "node"):
        if not isinstance(found.get(name), str):
            raise _Bad(name, "must be there, as text")
    on_hand = found.get("on_hand")
    if type(on_hand) is not int:
        raise _Bad("on_hand", "must be there, as a whole number")
    return found["sku"], found["node"], on_hand


def _code(field: str, value: str) -> str:
    code = value.strip()
    if not code:
        raise _Bad(field, "is empty")
    if len(code) > _LONGEST_CODE:
        raise _Bad(field, f"is longer than {_LONGEST_CODE} characters")
    if not code.isprintable():
        raise _Bad(field, "has a character that cannot be seen; remove it")
    return code


def _units(value: str | int) -> int:
    said = str(value).strip()
    digits = said.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise _Bad("on_hand", f"{said[:20]!r} is not a whole number such as 12")
    if said != digits and digits.strip("0"):
        raise _Bad("on_hand", f"{said[:20]} is below zero; count what lies there, 0 or more")
    if len(digits.lstrip("0")) > len(str(MOST_UNITS)) or int(digits) > MOST_UNITS:
        raise _Bad("on_hand", f"is more than {MOST_UNITS:,} units")
    return int(digits)
