"""Steps with an effect on our own database: brief first, then patient, refused at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError
from temporalio.exceptions import TimeoutError as Late

from domain.errors import Refused
from workflows.addressing import sourcing_queue
from workflows.policies import brief, patient

Result = TypeVar("Result")
Request = TypeVar("Request")


async def step(
    method: Callable[[Any, Request], Awaitable[Result]], request: Request, *, summary: str
) -> Result:
    """
    Do a database step, however long the database is away. Raises Refused where it says a final no.

    Four tries in five seconds cost one event of history; an outage beyond that shows in the UI as a
    pending activity with its attempts, and costs seven events, however long it lasts.
    """
    try:
        return await workflow.execute_local_activity_method(method, request, **brief(summary))
    except FailureError as failure:
        _raise_refusal(failure)
    return await _regular(method, request, summary, None)


async def heavy_step(
    method: Callable[[Any, Request], Awaitable[Result]], request: Request, *, summary: str
) -> Result:
    """The same as a regular activity from the start, on the queue for heavy decisions."""
    return await _regular(method, request, summary, sourcing_queue(workflow.info().task_queue))


async def _regular(
    method: Callable[[Any, Request], Awaitable[Result]],
    request: Request,
    summary: str,
    queue: str | None,
) -> Result:
    try:
        return await workflow.execute_activity_method(method, request, **patient(summary, queue))
    except FailureError as failure:
        _raise_refusal(failure)
        raise


def refusal(failure: BaseException) -> ApplicationError | None:
    """The final no inside a failure, if that is what it is."""
    cause = failure.cause if isinstance(failure, ActivityError) else failure
    return cause if isinstance(cause, ApplicationError) and cause.non_retryable else None


def never_tried(failure: FailureError) -> bool:
    """Whether the time for an activity ran out with no attempt that failed: nobody worked."""
    late = failure.cause
    return isinstance(late, Late) and late.cause is None


def _raise_refusal(failure: FailureError) -> None:
    if no := refusal(failure):
        raise Refused(no.message, code=no.type or "refused") from failure
