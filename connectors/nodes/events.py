"""Reads what a node tells us of a fulfillment (docs/node-protocol.md)."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    AwareDatetime,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from domain.errors import Invalid
from domain.fulfillments import LineQuantity, NodeEvent, NodeEventType, Package
from domain.values import Value

LARGEST_EVENT: Final = 256 * 1024


def _utc(at: datetime) -> datetime:
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("out of range") from error


def _clean(text: str) -> str:
    return text.replace("\x00", "").strip()


_Text = Annotated[str, AfterValidator(_clean)]
_Id = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]+$", max_length=128)]


class _Known(Value):
    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, body: Any) -> Any:
        if isinstance(body, dict):
            return {name: value for name, value in body.items() if value is not None}
        return body


class _Line(_Known):
    line_id: Annotated[str, Field(min_length=1, max_length=80)]
    quantity: Annotated[int, Field(ge=1, le=100_000)]


class _Package(_Known):
    tracking_number: Annotated[_Text, Field(max_length=128)]
    carrier: Annotated[_Text, Field(max_length=64)] = ""
    service: Annotated[_Text, Field(max_length=64)] = ""


class _Event(_Known):
    event_id: _Id
    fulfillment_id: _Id
    type: NodeEventType
    occurred_at: Annotated[AwareDatetime, AfterValidator(_utc)]
    reason: Annotated[_Text, Field(max_length=2000)] = ""
    lines: Annotated[tuple[_Line, ...], Field(max_length=1000)] = ()
    packages: Annotated[tuple[_Package, ...], Field(max_length=200)] = ()
    final: bool = True


def parse_event(node: str, raw: bytes) -> NodeEvent:
    """
    The event that a node sent, its time in UTC, each line once.

    Fields that are not known are passed over. Raises Invalid naming the field that cannot be read.
    """
    if len(raw) > LARGEST_EVENT:
        raise Invalid(f"the event is larger than {LARGEST_EVENT} bytes")
    try:
        event = _Event.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "body"
        raise Invalid(f"{field}: {first['msg']}") from error
    units: Counter[str] = Counter()
    for line in event.lines:
        units[line.line_id] += line.quantity
    return NodeEvent(
        event_id=event.event_id,
        fulfillment_id=event.fulfillment_id,
        node=node,
        type=event.type,
        occurred_at=event.occurred_at,
        reason=event.reason,
        lines=tuple(LineQuantity(line_id=line, quantity=q) for line, q in units.items()),
        packages=tuple(Package(**package.model_dump()) for package in event.packages),
        final=event.final,
    )
