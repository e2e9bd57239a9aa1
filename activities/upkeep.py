"""What runs on a schedule: polling channels, lost workflows, and sourcing better what waits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final, cast

from temporalio import activity

from activities import reoptimising
from activities.house import House
from connectors.channels import POLLED, PolledChannel
from domain.errors import Refused
from domain.orders import order_id as id_of
from storage import inbox, network, open_orders
from storage.database import transaction
from workflows import ports
from workflows.addressing import order_workflow_id
from workflows.client import restart_to_cancel, start_over_stuck
from workflows.ports import Abandoned, Reoptimise, Reoptimised

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
        ended: dict[str, str] = {}
        async for workflow in house.client.list_workflows(query):
            status = workflow.status.name.lower() if workflow.status else "gone"
            ended.setdefault(workflow.id.removeprefix(order_workflow_id("")), status)
        async with transaction(house.engine) as conn:
            abandoned = await open_orders.among(conn, ended)
        found = []
        for order in abandoned:
            status = ended[order.order_id]
            why = f"its workflow was {status}"
            await restart_to_cancel(house.client, order, house.patience, why, queue=house.queue)
            found.append(_abandoned(order.order_id, status))
        return (*found, *(_abandoned(order_id, "stuck") for order_id in stuck))

    @activity.defn
    async def reoptimise(self, request: Reoptimise) -> Reoptimised:
        return await reoptimising.reoptimise(self._house.engine, dry_run=request.dry_run)

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


def _abandoned(order_id: str, status: str) -> Abandoned:
    return Abandoned(order_id=order_id, workflow_id=order_workflow_id(order_id), status=status)
