"""The two axes of a fulfillment: what follows what, and nothing follows an end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.fulfillments import (
    ENDED,
    TRANSITIONS,
    Fulfillment,
    FulfillmentStatus,
    LineQuantity,
    NodeEventType,
    RequestStatus,
    advance,
)
from tests.samples import a_share

OURS = {"dispatch", "recall", "recall_refused", "no_answer", "vouched", "expired", "moved"}
NAMES = sorted({*OURS, *(kind.value for kind in NodeEventType), "partly_shipped", "short_shipped"})
LETS_GO = {"rejected", "exception", "cancelled", "vouched", "expired", "moved"}
START = (FulfillmentStatus.OPEN, RequestStatus.UNSUBMITTED)


def fulfillment(
    status: FulfillmentStatus = FulfillmentStatus.OPEN,
    request: RequestStatus = RequestStatus.UNSUBMITTED,
) -> Fulfillment:
    share = a_share("o-F1", "A", {"1": 2}, order_id="o")
    return share.model_copy(update={"status": status, "request": request})


@given(st.sampled_from(FulfillmentStatus), st.sampled_from(RequestStatus), st.sampled_from(NAMES))
def test_a_step_is_what_the_table_says_or_nothing_at_all(
    status: FulfillmentStatus, request: RequestStatus, name: str
) -> None:
    before = fulfillment(status, request)
    after = advance(before, name)
    expected = TRANSITIONS.get((status, request), {}).get(name)
    if expected is None:
        assert after is None
    else:
        assert after == before.model_copy(update={"status": expected[0], "request": expected[1]})


@given(st.lists(st.sampled_from([*NAMES, "nonsense"]), max_size=12))
def test_no_sequence_of_words_leaves_an_end_or_reaches_a_pair_without_a_way_on(
    words: list[str],
) -> None:
    now = fulfillment()
    for word in words:
        after = advance(now, word)
        if now.status in ENDED:
            assert after is None
        now = after or now
        assert now.status in ENDED or (now.status, now.request) in TRANSITIONS


def test_every_word_is_known_and_every_pair_of_the_table_can_be_reached() -> None:
    assert {name for moves in TRANSITIONS.values() for name in moves} <= set(NAMES)
    reached, news = {START}, {START}
    while news:
        news = {to for pair in news for to in TRANSITIONS.get(pair, {}).values()} - reached
        reached |= news
    for status, request in reached - TRANSITIONS.keys():
        assert status in ENDED, request
    unreached = set(TRANSITIONS) - reached
    # A node that refused to give back has begun to work: it is in progress from then on.
    assert unreached <= {(FulfillmentStatus.OPEN, RequestStatus.CANCELLATION_REJECTED)}


@pytest.mark.parametrize("pair", TRANSITIONS, ids="-".join)
def test_the_node_may_let_go_wherever_it_was_asked(
    pair: tuple[FulfillmentStatus, RequestStatus],
) -> None:
    """Proof that it does not ship is heard at any time, and so is that it did."""
    moves = TRANSITIONS[pair]
    if pair != START:
        assert {"rejected", "exception", "cancelled", "shipped", "collected"} <= moves.keys()
    for name in LETS_GO & moves.keys():
        assert moves[name][0] is FulfillmentStatus.CANCELLED
    assert moves["shipped"][0] is FulfillmentStatus.CLOSED


def test_what_remains_is_what_was_asked_less_what_shipped() -> None:
    f = fulfillment().model_copy(update={"shipped": {"1": 1}})
    assert f.remaining() == (LineQuantity(line_id="1", quantity=1),)
    assert f.model_copy(update={"shipped": {"1": 2}}).remaining() == ()
