"""How long each kind of step may take, and how stubbornly it is retried."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityConfig, LocalActivityConfig

from workflows.addressing import partners_queue

# A database step first runs inside the workflow task, which costs one event. What has not worked
# within 5 seconds is an outage: it goes on as the same, regular activity for as long as it takes.
_BRIEF: Final = RetryPolicy(
    initial_interval=timedelta(milliseconds=200),
    maximum_interval=timedelta(seconds=1),
    maximum_attempts=4,
)
_PATIENT: Final = RetryPolicy(maximum_interval=timedelta(seconds=15))
_PARTNER: Final = RetryPolicy(maximum_interval=timedelta(minutes=1))
_DATABASE_ANSWERS: Final = timedelta(seconds=4)
_PATIENT_ANSWERS: Final = timedelta(seconds=20)
_LONG_ANSWERS: Final = timedelta(minutes=10)
# More lines than this are sourced by a regular activity on the queue for heavy decisions.
SOURCED_IN_PLACE: Final = 20


def brief(summary: str) -> LocalActivityConfig:
    """A database step inside the workflow task."""
    return LocalActivityConfig(
        start_to_close_timeout=_DATABASE_ANSWERS,
        schedule_to_close_timeout=timedelta(seconds=5),
        retry_policy=_BRIEF,
        summary=summary,
    )


def patient(summary: str, queue: str | None = None) -> ActivityConfig:
    """A step of our own that is tried for as long as it takes."""
    return ActivityConfig(
        task_queue=queue,
        start_to_close_timeout=_PATIENT_ANSWERS,
        retry_policy=_PATIENT,
        summary=summary,
    )


def lengthy(summary: str, queue: str) -> ActivityConfig:
    """A step of our own that may take minutes."""
    return ActivityConfig(
        task_queue=queue,
        start_to_close_timeout=_LONG_ANSWERS,
        retry_policy=_PATIENT,
        summary=summary,
    )


def partner(summary: str, queue: str, within: timedelta) -> ActivityConfig:
    """
    A call to a partner: tried for as long as the order's patience says, then a person is asked.
    """
    return ActivityConfig(
        task_queue=partners_queue(queue),
        start_to_close_timeout=_PATIENT_ANSWERS,
        schedule_to_close_timeout=within,
        retry_policy=_PARTNER,
        summary=summary,
    )
