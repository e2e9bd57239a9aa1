"""A channel is polled from when it is added until it is gone, without anybody's `migrate`."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Literal

import pytest
from temporalio.client import ScheduleActionStartWorkflow
from temporalio.service import RPCError, RPCStatusCode

from activities import scheduling
from activities.house import House
from activities.upkeep import Upkeep
from domain.errors import Refused
from storage import network
from storage.database import transaction
from storage.network import Channel


async def put(house: House, code: str, kind: Literal["shopify", "magento", "api"]) -> None:
    async with transaction(house.engine) as conn:
        await network.put_channel(conn, Channel(code=code, kind=kind))


async def scheduled(house: House, code: str) -> bool:
    try:
        await house.client.get_schedule_handle(f"poll-{code}").describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def until(house: House, code: str, *, is_scheduled: bool) -> None:
    async with asyncio.timeout(60):
        while await scheduled(house, code) is not is_scheduled:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.1)


async def test_a_channel_that_is_added_is_polled_and_one_that_is_gone_is_not(house: House) -> None:
    keeping = asyncio.create_task(scheduling.run(replace(house, poll_seconds=1234)))
    try:
        await put(house, "added", "magento")
        await put(house, "hooked", "shopify")
        await until(house, "added", is_scheduled=True)
        found = await house.client.get_schedule_handle("poll-added").describe()
        assert isinstance(found.schedule.action, ScheduleActionStartWorkflow)
        assert found.schedule.action.workflow == "PollChannel"
        assert found.schedule.spec.intervals[0].every == timedelta(seconds=1234)
        assert not await scheduled(house, "hooked")

        await put(house, "added", "api")
        await until(house, "added", is_scheduled=False)
    finally:
        keeping.cancel()


async def test_what_changed_while_no_worker_ran_is_made_up_for(house: House) -> None:
    await put(house, "kept", "magento")
    assert await scheduling.follow(house, None) >= {"kept"}
    await house.client.get_schedule_handle("poll-kept").pause()
    await put(house, "left", "magento")
    await scheduling.follow(house, frozenset({"kept"}))
    await until(house, "left", is_scheduled=True)
    async with asyncio.timeout(30):  # the list of schedules lags behind
        while len([s async for s in await house.client.list_schedules()]) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    await put(house, "left", "shopify")
    again = [await scheduling.follow(house, None) for _ in range(2)]

    assert again[0] == again[1] == {"kept"}
    assert not await scheduled(house, "left")
    still = await house.client.get_schedule_handle("poll-kept").describe()
    assert still.schedule.state.paused


async def test_a_poll_that_outlives_its_channels_kind_ends(house: House) -> None:
    await put(house, "turned", "shopify")
    with pytest.raises(Refused, match="none that is polled"):
        await Upkeep(house).poll_channel("turned")


async def test_what_waits_is_looked_at_at_its_pace_or_never(house: House) -> None:
    async def ensured(seconds: float) -> timedelta | None:
        paces = {"reconcile_seconds": 60, "poll_seconds": 30, "reoptimise_seconds": seconds}
        await scheduling.ensure_schedules(house.client, (), **paces)
        try:
            found = await house.client.get_schedule_handle("reoptimise").describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return None
        return found.schedule.spec.intervals[0].every

    try:
        assert await ensured(0) is None
        assert await ensured(300) == timedelta(minutes=5)
        assert await ensured(60) == timedelta(minutes=1)
        assert await ensured(0) is None
    finally:
        await house.client.get_schedule_handle("reconcile").delete()
