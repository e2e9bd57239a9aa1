import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.nodes import parse_event
from connectors.nodes.events import LARGEST_EVENT
from domain.errors import Invalid
from domain.fulfillments import LineQuantity, NodeEvent, NodeEventType, Package

EVENT: dict[str, Any] = {
    "event_id": "evt-1",
    "fulfillment_id": "webshop-1001-F1",
    "type": "shipped",
    "occurred_at": "2026-11-22T16:04:05+01:00",
    "reason": "",
    "lines": [{"line_id": "1", "quantity": 2}],
    "packages": [{"tracking_number": "1Z999", "carrier": "ups", "service": "ground"}],
    "final": True,
}


def parsed(**changes: Any) -> NodeEvent:
    return parse_event("DC-DAL", json.dumps({**EVENT, **changes}).encode())


def test_an_event_is_read() -> None:
    assert parsed(node="DC-FAKE", colour="blue") == NodeEvent(
        event_id="evt-1",
        fulfillment_id="webshop-1001-F1",
        node="DC-DAL",
        type=NodeEventType.SHIPPED,
        occurred_at=datetime(2026, 11, 22, 15, 4, 5, tzinfo=UTC),
        lines=(LineQuantity(line_id="1", quantity=2),),
        packages=(Package(tracking_number="1Z999", carrier="ups", service="ground"),),
    )


def test_a_line_said_twice_is_summed() -> None:
    lines = [{"line_id": "1", "quantity": 2}, {"line_id": "1", "quantity": 1}]

    assert parsed(lines=lines).lines == (LineQuantity(line_id="1", quantity=3),)


def test_null_is_as_good_as_absent() -> None:
    event = parsed(reason=None, lines=None, packages=None, final=None)

    assert (event.reason, event.lines, event.packages, event.final) == ("", (), (), True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", ""),
        ("event_id", None),
        ("event_id", "x" * 129),
        ("event_id", "a\x00b"),
        ("type", "exploded"),
        ("occurred_at", "2026-11-22T16:04:05"),
        ("occurred_at", "soon"),
        ("occurred_at", "9999-12-31T23:59:59-10:00"),
        ("lines", [{"line_id": "1", "quantity": 0}]),
        ("lines", [{"line_id": "1", "quantity": 1.5}]),
        ("lines", [{"line_id": "1", "quantity": 1}] * 1001),
        ("packages", [{"carrier": "ups"}]),
        ("reason", "x" * 2001),
        ("final", "perhaps"),
    ],
)
def test_what_cannot_be_read_is_named(field: str, value: Any) -> None:
    with pytest.raises(Invalid, match=rf"^{field}"):
        parsed(**{field: value})


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_event_is_invalid(raw: bytes) -> None:
    with pytest.raises(Invalid):
        parse_event("DC-DAL", raw)


def test_a_huge_event_is_not_even_read() -> None:
    with pytest.raises(Invalid, match="larger"):
        parse_event("DC-DAL", b" " * (LARGEST_EVENT + 1))


@given(
    st.binary()
    | st.dictionaries(st.sampled_from([*EVENT]), st.text() | st.integers()).map(
        lambda changes: json.dumps({**EVENT, **changes}).encode()
    )
)
def test_nothing_a_node_sends_crashes_us(raw: bytes) -> None:
    with contextlib.suppress(Invalid):
        parse_event("DC-DAL", raw)
