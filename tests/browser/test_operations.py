"""What operations does in the Temporal UI when an order needs them, clicked through."""

import pytest

from tests.browser.stack import BETHLEHEM, CUSTOMER, LOUISVILLE, Stack
from tests.browser.ui import Ui

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]
STUCK = "AttentionReason = 'node_unreachable'"
_ASK_THE_CODEC = """async (url) => {
    const body = '{"payloads": []}', headers = {'content-type': 'application/json'}
    const asked = await fetch(url, {method: 'POST', credentials: 'include', body, headers})
    return asked.status
}"""


async def test_payloads_open_for_operations_signed_in_and_for_nobody_else(
    stack: Stack, ui: Ui, stranger: Ui
) -> None:
    order_id = await stack.order("sealed", BETHLEHEM)
    await stack.until_status(order_id, "completed")

    await ui.open(order_id)
    await ui.sees(CUSTOMER)

    await stranger.use_codec(f"{stack.api}/codec")
    await stranger.open(order_id)
    await stranger.sees("Codec Server could not connect")
    assert CUSTOMER not in await stranger.page.content()

    # Signed in, but on a page of another origin.
    await ui.page.goto(f"{stack.sandbox}/healthz")
    with pytest.raises(Exception, match="Failed to fetch"):
        await ui.page.evaluate(_ASK_THE_CODEC, f"{stack.api}/codec/decode")


async def test_a_key_without_the_scope_does_not_sign_in(stack: Stack, stranger: Ui) -> None:
    await stranger.page.goto(f"{stack.api}/login")
    await stranger.page.fill("#key", stack.key("orders:read"))
    await stranger.page.get_by_role("button", name="Sign in").click()
    await stranger.sees("This API key has no scope ops, or is bound to channels or nodes.")


async def test_an_order_stuck_at_a_dead_node_is_found_understood_and_rerouted(
    stack: Stack, ui: Ui
) -> None:
    await stack.dead(LOUISVILLE.node)
    order_id = await stack.order("reroute", LOUISVILLE)
    await stack.until_stuck(order_id, "node_unreachable")

    await ui.find(STUCK)
    await ui.row(order_id).click()
    details = await ui.details(order_id)
    assert "Needs a decision: node unreachable" in details
    assert "TPL-LOU does not say whether it ships 1 unit" in details
    assert '{"action": "reroute", "note": "why"}' in details

    typo = await ui.send_update("resolve", '{"action": "fly"}')
    await typo.get_by_text(
        "Input should be 'retry', 'skip', 'reroute', 'approve' or 'cancel'"
    ).wait_for()
    await ui.open(order_id)
    other = await ui.send_update("resolve", '{"action": "skip", "item": "lunch"}')
    await other.get_by_text("lunch does not wait for a decision").wait_for()

    await ui.open(order_id)
    sent = await ui.send_update("resolve", '{"action": "reroute", "note": "they lost power"}')
    await sent.wait_for(state="hidden")
    await stack.until_status(order_id, "completed")
    assert {f["node"] for f in (await stack.card(order_id))["fulfillments"]} == {
        "TPL-LOU",
        "DC-HAZ",
    }
    await stack.alive(LOUISVILLE.node)
    await ui.find(STUCK)
    assert await ui.row(order_id).count() == 0


async def test_an_empty_update_retries_a_parked_step(stack: Stack, ui: Ui) -> None:
    await stack.dead(LOUISVILLE.node)
    order_id = await stack.order("retry", LOUISVILLE)
    await stack.until_stuck(order_id, "node_unreachable")
    await stack.alive(LOUISVILLE.node)
    await ui.open(order_id)
    sent = await ui.send_update("resolve")
    await sent.wait_for(state="hidden")
    await stack.until_status(order_id, "completed")
    assert stack.asked(order_id) == {f"{order_id}-F1": ("delivered", 1)}


async def test_a_batch_of_signals_retries_all_that_are_stuck(stack: Stack) -> None:
    await stack.dead(LOUISVILLE.node)
    orders = [await stack.order(f"batch-{n}", LOUISVILLE) for n in range(3)]
    for order_id in orders:
        await stack.until_stuck(order_id, "node_unreachable")
    await stack.alive(LOUISVILLE.node)
    words = ("--name", "retry", "--reason", "TPL-LOU is back", "--yes")
    stack.temporal("workflow", "signal", "--query", STUCK, *words)
    for order_id in orders:
        await stack.until_status(order_id, "completed")
        assert stack.asked(order_id) == {f"{order_id}-F1": ("delivered", 1)}


async def test_request_cancellation_cancels_the_order_and_leaves_nothing(
    stack: Stack, ui: Ui
) -> None:
    await stack.slow(BETHLEHEM, 600)
    order_id = await stack.order("cancel", BETHLEHEM)
    await stack.until_asked(order_id, "accepted")
    await ui.open(order_id)
    await ui.request_cancellation()
    await stack.until_status(order_id, "cancelled")
    assert stack.asked(order_id) == {f"{order_id}-F1": ("cancelled", 1)}
    await ui.find("ExecutionStatus = 'Canceled'")
    await ui.row(order_id).wait_for()
    assert stack.does("audit") == "0 findings"


@pytest.mark.parametrize("last", [False, True], ids=["first task", "last task"])
async def test_a_reset_order_goes_on_and_no_node_is_asked_twice(
    stack: Stack, ui: Ui, *, last: bool
) -> None:
    await stack.silent(BETHLEHEM)
    order_id = await stack.order(f"reset-{'last' if last else 'first'}", BETHLEHEM)
    await stack.until_asked(order_id, "received")
    await ui.open(order_id)
    await ui.reset(last=last)
    await stack.goes_on(BETHLEHEM.node)
    await stack.until_status(order_id, "completed")
    assert stack.asked(order_id) == {f"{order_id}-F1": ("delivered", 1)}
    assert stack.does("audit") == "0 findings"


async def test_a_terminated_order_is_cancelled_by_the_reconciler(stack: Stack, ui: Ui) -> None:
    await stack.slow(BETHLEHEM, 600)
    order_id = await stack.order("terminate", BETHLEHEM)
    await stack.until_asked(order_id, "accepted")
    await ui.open(order_id)
    await ui.terminate("pressed in a hurry")
    await stack.until_status(order_id, "cancelled")
    assert stack.asked(order_id) == {f"{order_id}-F1": ("cancelled", 1)}
    assert stack.does("audit") == "0 findings"
