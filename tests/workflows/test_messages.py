"""What people send an order, as the Temporal UI and its command line send it."""

import asyncio

import pytest
from pydantic import ValidationError
from temporalio.api.failure.v1 import Failure
from temporalio.client import WorkflowUpdateFailedError
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.exceptions import ApplicationError

from domain.orders import Address, OrderStatus
from tests.workflows.story import Play
from tests.workflows.test_resume import reset
from tests.world import World
from workflows.codec import SealedFailures
from workflows.messages import Declined, Resolve

CONVERTER = PydanticPayloadConverter()


def failure_of(error: BaseException) -> Failure:
    failure = Failure()
    SealedFailures().to_failure(error, CONVERTER, failure)
    return failure


def decoding(error: ValidationError) -> RuntimeError:
    """As the SDK words it."""
    wrapped = RuntimeError("Failed decoding arguments")
    wrapped.__cause__ = error
    return wrapped


def test_a_no_to_a_message_stays_readable_and_a_failure_does_not() -> None:
    no = failure_of(Declined("nothing here waits for a decision", type="not_waiting"))
    assert no.message == "nothing here waits for a decision"
    failure = failure_of(ApplicationError("Ada Nguyen, 12 Oak St is no address"))
    assert "Ada" not in failure.message
    restored = SealedFailures().from_failure(failure, CONVERTER)
    assert str(restored) == "Ada Nguyen, 12 Oak St is no address"


def test_a_message_that_cannot_be_read_names_the_field_and_not_what_it_held() -> None:
    with pytest.raises(ValidationError) as typo:
        Resolve.model_validate({"action": "fly"})
    said = failure_of(decoding(typo.value)).message
    assert said == "action: Input should be 'retry', 'skip', 'reroute', 'approve' or 'cancel'"
    with pytest.raises(ValidationError) as secret:
        Address.model_validate({"country": "US", "postal_code": ["12 Oak St"]})
    said = failure_of(decoding(secret.value)).message
    assert said == "postal_code: Input should be a valid string"


async def test_two_retries_at_once_are_one(play: Play) -> None:
    world = World()
    world.catalogue.discard("mug")
    async with play(world) as story:
        await story.submit()
        await story.until("unknown_sku")
        world.catalogue.add("mug")
        await asyncio.gather(*(story.handle.signal("retry") for _ in range(5)))
        state = await story.delivered()

    assert state.status is OrderStatus.COMPLETED


async def test_a_refused_decision_says_why(play: Play) -> None:
    world = World()
    world.catalogue.discard("mug")
    async with play(world) as story:
        await story.submit()
        await story.until("unknown_sku")
        wrong = {
            "reroute": {"action": "reroute"},
            "lunch does not wait": {"item": "lunch"},
            "Input should be": {"action": "fly"},
        }
        for words, message in wrong.items():
            with pytest.raises(WorkflowUpdateFailedError) as refused:
                await story.handle.execute_update("resolve", message)
            assert words in str(refused.value.cause)
        await story.handle.execute_update("resolve", {"action": "cancel"})
        state = await story.handle.result()

    assert state.status is OrderStatus.CANCELLED


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
async def test_a_reset_of_a_completed_order_changes_nothing(play: Play, *, last: bool) -> None:
    async with play() as story:
        await story.submit()
        await story.delivered()
        await reset(story, last=last)
        state = await story.handle.result()

    assert state.status is OrderStatus.COMPLETED
    assert story.world.requests == {f"{story.order.order_id}-F1": 1}
    assert story.world.leftovers() == []
