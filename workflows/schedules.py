"""The schedules: which channels are polled, and how often lost orders are looked for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
)

from workflows.addressing import ORDERS
from workflows.upkeep import PollChannelWorkflow, ReconcileWorkflow


async def ensure(
    client: Client, channels: Sequence[str], *, poll: timedelta, reconcile: timedelta
) -> None:
    """Make the schedules as they should be; again is the same."""
    for channel in channels:
        action = ScheduleActionStartWorkflow(
            PollChannelWorkflow.run, channel, id=f"poll-{channel}", task_queue=ORDERS
        )
        await _ensure(client, f"poll-{channel}", action, poll)
    action_reconcile = ScheduleActionStartWorkflow(
        ReconcileWorkflow.run, id="reconcile", task_queue=ORDERS
    )
    await _ensure(client, "reconcile", action_reconcile, reconcile)


async def _ensure(
    client: Client, schedule_id: str, action: ScheduleActionStartWorkflow, every: timedelta
) -> None:
    schedule = Schedule(
        action=action,
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP),
    )
    with suppress(ScheduleAlreadyRunningError):
        await client.create_schedule(schedule_id, schedule)
        return
    await client.get_schedule_handle(schedule_id).update(lambda _: ScheduleUpdate(schedule))
