"""What a person reads under the details of an order."""

from datetime import UTC, datetime

from domain.fulfillments import RequestStatus
from domain.orders import Hold, OrderStatus
from domain.records import Attention, OrderState
from tests.samples import a_share
from workflows import details

NOW = datetime(2026, 11, 22, 9, 30, tzinfo=UTC)


def asks(item: str) -> Attention:
    return Attention(
        item=item,
        code="node_unreachable",
        message="TPL-LOU does not say whether it ships 1 unit.",
        since=NOW,
        options=("retry", "reroute"),
    )


def an_order(*attention: Attention, holds: tuple[Hold, ...] = ()) -> OrderState:
    share = a_share("api-1-F1", "TPL-LOU", {"1": 2}, sku="mug", order_id="api-1")
    return OrderState(
        order_id="api-1",
        channel="api",
        channel_order_id="1",
        status=OrderStatus.IN_FULFILLMENT,
        fulfillments=(share.model_copy(update={"request": RequestStatus.UNKNOWN}),),
        attention=attention,
        holds=holds,
    )


def test_a_decision_comes_with_the_words_that_make_it() -> None:
    said = details.markdown(an_order(asks("api-1-F1:unproven")))
    assert said.startswith("## in fulfillment\n\n### Needs a decision: node unreachable")
    assert '- `{"action": "retry", "note": "why"}` or nothing at all' in said
    assert '- `{"action": "reroute", "note": "why"}`' in said
    assert "`api-1-F1` at **TPL-LOU**: 2 × mug; open, request unknown" in said


def test_each_of_several_decisions_is_named() -> None:
    said = details.markdown(an_order(asks("api-1-F1:unproven"), asks("source")))
    assert '`{"action": "retry", "item": "source", "note": "why"}`' in said
    assert "nothing at all" not in said


def test_a_hold_says_who_owns_it_and_how_it_ends() -> None:
    hold = Hold(handle="fraud_review", reason="looks odd", owner="risk")
    said = details.markdown(an_order(holds=(hold,)))
    assert "`release_hold`" in said
    assert "- `fraud_review`: looks odd (owner risk)" in said
