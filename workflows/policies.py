"""How long each kind of step may take, and how stubbornly it is retried."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio.common import RetryPolicy
from temporalio.workflow import ActivityConfig, LocalActivityConfig

# A database step first runs inside the workflow task, which costs one event. What has not worked
# within 5 seconds is an outage: it goes on as the same, regular activity for as long as it takes.
BRIEF: Final = LocalActivityConfig(
    start_to_close_timeout=timedelta(seconds=4),
    schedule_to_close_timeout=timedelta(seconds=5),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=200),
        maximum_interval=timedelta(seconds=1),
        maximum_attempts=4,
    ),
)
PATIENT: Final = ActivityConfig(
    start_to_close_timeout=timedelta(seconds=20),
    retry_policy=RetryPolicy(maximum_interval=timedelta(seconds=15)),
)
# A partner is asked for as long as the caller says (schedule_to_close), then a person is.
PARTNER: Final = ActivityConfig(
    start_to_close_timeout=timedelta(seconds=20),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=1), maximum_interval=timedelta(minutes=1)
    ),
)
# More lines than this are sourced by a regular activity on the queue for heavy decisions.
SOURCED_IN_PLACE: Final = 20
