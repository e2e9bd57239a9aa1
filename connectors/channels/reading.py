"""Reads foreign JSON: whatever stands in a field, an answer or None, never a crash."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from itertools import islice
from typing import Any, Final

from pydantic import ValidationError

from domain.errors import Invalid
from domain.money import parse
from domain.orders import RESERVATION_KEY, DeliveryMethod, Line, Order

Document = dict[str, Any]

LARGEST: Final = 4 * 1024 * 1024
_AMOUNT: Final = re.compile(r"-?\d{1,14}(\.\d{1,12})?")
_CARRIED: Final = {"crossdock_promise": "promise_token", "crossdock_reservation": "reservation"}
_MOST_CARRIED: Final = 100
_FOREIGN: Final = re.compile(r"[^\w.:=@+-]")
_NAMED: Final = re.compile(
    r"\b(crossdock_promise|crossdock_reservation)\s*[:=]\s*([^\s<>&]{1,200})"
)
_INTEGER: Final = re.compile(r"-?\d{1,19}(\.0{1,12})?")


def document(raw: bytes) -> Document:
    """A JSON object, fractions as Decimal. Raises Invalid for anything else."""
    if len(raw) > LARGEST:
        raise Invalid(f"body: larger than {LARGEST} bytes")
    try:
        body = json.loads(raw, parse_float=Decimal, parse_constant=_no_number)
    except (ValueError, ArithmeticError, RecursionError) as error:
        raise Invalid("body: not JSON") from error
    if not isinstance(body, dict):
        raise Invalid("body: not a JSON object")
    return body


def part(value: Any) -> Document:
    return value if isinstance(value, dict) else {}


def parts(value: Any) -> list[Document]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: Any, limit: int = 255) -> str:
    """Text that a database takes, on both ends trimmed. Numbers read as text; others are empty."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return ""
    clean = str(value).replace("\x00", "").encode(errors="replace").decode()
    return clean.strip()[:limit]


def first_text(*values: Any, limit: int = 255) -> str:
    return next((found for value in values if (found := text(value, limit))), "")


def number(value: Any) -> Decimal | None:
    """A finite number of ordinary size, given as a number or as text."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    if isinstance(value, Decimal):
        if not value:
            return Decimal(0)
        value = format(value, "f") if -12 < value.adjusted() < 14 else ""  # noqa: PLR2004  # _AMOUNT
    found = text(value, 64)
    return Decimal(found) if _AMOUNT.fullmatch(found) else None


def integer(value: Any) -> int | None:
    """A whole number, also written as "2", 2.0 or "2.0000". Ids are not rounded."""
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        return None
    if isinstance(value, int):
        return value if abs(value) < 10**19 else None
    found = text(value, 64)
    return int(found.partition(".")[0]) if _INTEGER.fullmatch(found) else None


def whole(value: Any) -> int | None:
    """How many: a fraction of one is rounded up."""
    found = number(value)
    return None if found is None else int(found.to_integral_value(ROUND_CEILING))


def is_fraction(value: Any) -> bool:
    found = number(value)
    return found is not None and found != found.to_integral_value()


def no(value: Any) -> bool:
    """Whether a flag is set to no; absent or null is not."""
    return value is False or value == 0 or text(value).lower() in ("0", "false", "no")


def yes(value: Any) -> bool:
    return value is True or text(value).lower() in ("1", "true", "yes")


def minor(value: Any, currency: str) -> int | None:
    """An amount in minor units: absent is zero, unreadable is None."""
    if value is None or value == "":
        return 0
    amount = number(value)
    return None if amount is None else parse(amount, currency).minor


def instant(*values: Any) -> datetime | None:
    """The first that is a time, in UTC. Without a zone it is UTC already."""
    for value in values:
        try:
            at = datetime.fromisoformat(text(value))
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None


def currency(*values: Any) -> str:
    """The first that is a currency code. Raises Invalid."""
    for value in values:
        if re.fullmatch(r"[A-Z]{3}", code := text(value).upper()):
            return code
    raise Invalid("currency: none given")


def line(  # noqa: PLR0913  # a line has this many parts
    *, line_id: str, sku: Any, aliases: Iterable[Any], quantity: int, price: int, title: Any
) -> Line:
    """A canonical line. A SKU too long to be one is left to the aliases. Raises Invalid."""
    name = text(sku, 1000)
    others = dict.fromkeys(text(alias, 128) for alias in aliases)
    try:
        return Line(
            line_id=line_id,
            sku=name if len(name) <= 128 else "",  # noqa: PLR2004  # the length of Line.sku
            aliases=tuple(alias for alias in others if alias and alias != name),
            quantity=quantity,
            unit_price_minor=price,
            title=text(title),
        )
    except ValidationError as error:
        raise _named(error, f"line {line_id}: ") from error


def order(**fields: Any) -> Order:
    """A canonical order. Raises Invalid naming the field."""
    try:
        return Order(**fields)
    except ValidationError as error:
        raise _named(error) from error


def collected_at(node: str | None, fields: Document) -> Document:
    """The fields of an order that is picked up; held where the store is not known to us."""
    if node is None:
        return {**fields, "holds": (*fields.get("holds", ()), "pickup_location_unknown")}
    return {**fields, "method": DeliveryMethod.PICKUP, "pickup_node": node}


def carried(pairs: Iterable[tuple[Any, Any]]) -> Document:
    """
    What a shop's cart carried into its order, as fields of ours: the token of a quote, the key of a
    reservation. The first of each counts. Whether they are good is not known here; what could be no
    key is made one, which nobody has, so that the order's story tells of it.
    """
    fields: Document = {}
    for name, value in islice(pairs, _MOST_CARRIED):
        field, said = _CARRIED.get(text(name, 64)), text(value, 64)
        if field and said:
            key = re.fullmatch(RESERVATION_KEY, said) or field == "promise_token"
            fields.setdefault(field, said if key else _FOREIGN.sub("-", said))
    return fields


def mentioned(*notes: Any) -> Iterator[tuple[str, str]]:
    """The same where it is written in notes, as `crossdock_reservation: cart-1`."""
    for note in notes[:_MOST_CARRIED]:
        for found in _NAMED.finditer(text(note, 2000)):
            yield found[1], found[2]


def unique(ids: Iterable[str]) -> list[str]:
    """The ids in their order; one that comes again gets a number."""
    seen: dict[str, int] = {}
    result = []
    for found in ids:
        seen[found] = seen.get(found, 0) + 1
        result.append(found if seen[found] == 1 else f"{found}-{seen[found]}")
    return result


def _named(error: ValidationError, prefix: str = "") -> Invalid:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(str(step) for step in first["loc"])
    return Invalid(f"{prefix}{field}: {first['msg']}" if field else f"{prefix}{first['msg']}")


def _no_number(constant: str) -> Any:
    raise ValueError(constant)
