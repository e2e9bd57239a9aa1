"""Sees to it that Temporal runs what runs on a schedule; safe to repeat."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

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
    ScheduleUpdateInput,
)

from cli.settings import Settings
from storage.network import Channel
from workflows.addressing import ORDERS
from workflows.upkeep import PollChannelWorkflow, ReconcileWorkflow

_CATCH_UP: Final = timedelta(minutes=1)
_POLLED: Final = "magento"


async def ensure_schedules(
    client: Client, settings: Settings, channels: tuple[Channel, ...]
) -> None:
    """One for the reconciler and one for every channel that is polled, as the settings say."""
    reconcile = ScheduleActionStartWorkflow(
        ReconcileWorkflow.run, id="reconcile", task_queue=ORDERS
    )
    await _ensure(client, "reconcile", reconcile, settings.reconcile_seconds)
    for channel in channels:
        if channel.kind != _POLLED:
            continue
        name = f"poll-{channel.code}"
        poll = ScheduleActionStartWorkflow(
            PollChannelWorkflow.run, channel.code, id=name, task_queue=ORDERS
        )
        await _ensure(client, name, poll, settings.poll_seconds)


async def _ensure(
    client: Client, name: str, action: ScheduleActionStartWorkflow, seconds: float
) -> None:
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=seconds))])
    policy = SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_CATCH_UP)
    schedule = Schedule(action=action, spec=spec, policy=policy)

    def changed(found: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule.state = found.description.schedule.state  # a paused one stays paused
        return ScheduleUpdate(schedule=schedule)

    try:
        await client.create_schedule(name, schedule)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(name).update(changed)
