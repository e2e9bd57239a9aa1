"""Sees to it that Temporal runs what runs on a schedule, also for a channel that is added later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
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
from temporalio.service import RPCError, RPCStatusCode

from activities.house import House
from connectors.channels import POLLED
from domain.errors import Outage
from storage import network
from storage.database import transaction
from storage.network import Channel
from workflows.addressing import ORDERS
from workflows.ports import Reoptimise
from workflows.upkeep import PollChannelWorkflow, ReconcileWorkflow, ReoptimiseWorkflow

_LOG: Final = logging.getLogger(__name__)
_CATCH_UP: Final = timedelta(minutes=1)
_EVERY: Final = 3.0  # seconds
_POLL: Final = "poll-"
_REOPTIMISE: Final = "reoptimise"


async def ensure_schedules(
    client: Client,
    channels: Collection[Channel],
    *,
    reconcile_seconds: float,
    poll_seconds: float,
    reoptimise_seconds: float,
) -> None:
    """
    One for the reconciler, one for sourcing better what waits (0 is never), one for each channel
    that is polled, at this pace. Safe to repeat.
    """
    reconcile = ScheduleActionStartWorkflow(
        ReconcileWorkflow.run, id="reconcile", task_queue=ORDERS
    )
    await _ensure(client, "reconcile", _every(reconcile_seconds, reconcile))
    again = ScheduleActionStartWorkflow(
        ReoptimiseWorkflow.run, Reoptimise(), id=_REOPTIMISE, task_queue=ORDERS
    )
    if reoptimise_seconds:
        await _ensure(client, _REOPTIMISE, _every(reoptimise_seconds, again))
    else:
        await _delete(client, _REOPTIMISE)
    for code in _polled(channels):
        await _ensure(client, _POLL + code, _poll(code, ORDERS, poll_seconds))


async def run(house: House) -> None:
    """
    For ever: a channel that is added is polled within seconds, one that is gone no more.

    What is scheduled already stays as it is: at the pace that `migrate` set, or paused.
    """
    kept: frozenset[str] | None = None
    while True:
        try:
            kept = await follow(house, kept)
        except (Outage, RPCError) as error:
            _LOG.warning("schedules are looked after later: %s", error)
        await asyncio.sleep(_EVERY)


async def follow(house: House, kept: frozenset[str] | None) -> frozenset[str]:
    """Bring the schedules from the channels that were `kept` (None: not known) to those now."""
    async with transaction(house.engine) as conn:
        polled = _polled(await network.channels(conn))
    if polled == kept:
        return polled
    known = kept if kept is not None else await _scheduled(house.client)
    for code in sorted(polled - known):
        schedule = _poll(code, house.queue, house.poll_seconds)
        try:
            await house.client.create_schedule(_POLL + code, schedule)
        except ScheduleAlreadyRunningError:
            continue
        _LOG.info("channel %s is polled every %s s", code, house.poll_seconds)
    for code in sorted(known - polled):
        await _delete(house.client, _POLL + code)
        _LOG.info("channel %s is polled no more", code)
    return polled


def _polled(channels: Collection[Channel]) -> frozenset[str]:
    return frozenset(channel.code for channel in channels if channel.kind in POLLED)


def _poll(code: str, queue: str, seconds: float) -> Schedule:
    action = ScheduleActionStartWorkflow(
        PollChannelWorkflow.run, code, id=_POLL + code, task_queue=queue
    )
    return _every(seconds, action)


def _every(seconds: float, action: ScheduleActionStartWorkflow) -> Schedule:
    spec = ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=seconds))])
    policy = SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_CATCH_UP)
    return Schedule(action=action, spec=spec, policy=policy)


async def _ensure(client: Client, name: str, schedule: Schedule) -> None:
    def changed(found: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule.state = found.description.schedule.state  # a paused one stays paused
        return ScheduleUpdate(schedule=schedule)

    try:
        await client.create_schedule(name, schedule)
    except ScheduleAlreadyRunningError:
        await client.get_schedule_handle(name).update(changed)


async def _scheduled(client: Client) -> frozenset[str]:
    """The channels that Temporal's list of schedules names; it may lag behind by a moment."""
    names = [schedule.id async for schedule in await client.list_schedules()]
    return frozenset(name.removeprefix(_POLL) for name in names if name.startswith(_POLL))


async def _delete(client: Client, name: str) -> None:
    try:
        await client.get_schedule_handle(name).delete()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
