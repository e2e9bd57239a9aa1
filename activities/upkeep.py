"""What runs on a schedule: polling channels, and orders whose workflow is gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, cast

from temporalio import activity

from activities.house import House
from connectors.channels import POLLED, PolledChannel
from domain.errors import Refused
from domain.orders import TERMINAL
from domain.orders import order_id as id_of
from storage import inbox, network, records
from storage.database import transaction
from workflows import ports
from workflows.addressing import order_workflow_id
from workflows.client import restart_to_cancel, start_over_stuck
from workflows.ports import Abandoned

_LOOK_BACK: Final = timedelta(days=7)


class Upkeep(ports.Upkeep):
    def __init__(self, house: House) -> None:
        self._house = house

    @activity.defn
    async def recover_abandoned(self) -> tuple[Abandoned, ...]:
        """
        Workflows that ended, in the last week, without their order's ending; and those that cannot
        go on, since their history is not what our code would do.
        """
        house = self._house
        stuck = await start_over_stuck(house.client)
        since = (datetime.now(UTC) - _LOOK_BACK).isoformat()
        query = (
            "WorkflowType = 'Order' AND CloseTime > '" + since + "' AND "
            "ExecutionStatus IN ('Terminated', 'Failed', 'TimedOut', 'Canceled')"
        )
        found: dict[str, Abandoned] = {}
        async for workflow in house.client.list_workflows(query):
            order_id = workflow.id.removeprefix(order_workflow_id(""))
            if order_id in found:
                continue
            async with transaction(house.engine) as conn:
                state = await records.state(conn, order_id)
                order = await records.order(conn, order_id)
            if order is None or state is None or state.status in TERMINAL:
                continue
            status = workflow.status.name.lower() if workflow.status else "gone"
            found[order_id] = Abandoned(order_id=order_id, workflow_id=workflow.id, status=status)
            why = f"its workflow was {status}"
            await restart_to_cancel(house.client, order, house.patience, why, queue=house.queue)
        for order_id in stuck:
            ours = order_workflow_id(order_id)
            found[order_id] = Abandoned(order_id=order_id, workflow_id=ours, status="stuck")
        return tuple(found.values())

    @activity.defn
    async def poll_channel(self, channel: str) -> int:
        """Each page is stored with its cursor in one transaction: a crash loses none."""
        house, new = self._house, 0
        async with transaction(house.engine) as conn:
            known, connection = await house.connection(conn, channel)
            cursor = await network.cursor(conn, channel)
        if known.kind not in POLLED:
            raise Refused(f"channel {channel} is none that is polled", code="not_polled")
        adapter = cast(PolledChannel, house.channels[known.kind])
        async for page in adapter.poll(connection, cursor or ""):
            async with transaction(house.engine) as conn:
                for arrival in page.arrivals:
                    raw = arrival.body.encode()
                    number = adapter.number(raw)
                    new += await inbox.put(
                        conn,
                        f"{known.kind}:{channel}",
                        arrival.key,
                        known.kind,
                        {"channel": channel},
                        order_id=id_of(channel, number) if number else None,
                        raw=raw,
                    )
                await network.set_cursor(conn, channel, page.cursor)
        return new
