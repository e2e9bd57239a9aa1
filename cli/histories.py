"""Counts the history events of undisturbed orders: they are what an order costs Temporal."""

from __future__ import annotations

import statistics
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection
from temporalio.client import Client

from domain.orders import OrderStatus
from domain.values import Value
from storage import reads
from storage.reads import OrderProgress
from workflows.addressing import order_workflow_id

_CLOSED: Final = "WorkflowType = 'Order' AND ExecutionStatus = 'Completed'"


class EventCounts(Value):
    """
    Events per order; `further_shipment` is what each fulfillment beyond the first adds.

    `orders` were counted: completed, every fulfillment shipped, and nobody was waited for.
    """

    orders: int
    one_shipment_p50: float = 0
    one_shipment_max: float = 0
    further_shipment_p50: float = 0
    further_shipment_max: float = 0


async def count_events(conn: AsyncConnection, client: Client) -> EventCounts:
    """Over all closed orders that Temporal still knows and whose record is in this database."""
    prefix = order_workflow_id("")
    lengths = {
        workflow.id.removeprefix(prefix): workflow.history_length
        async for workflow in client.list_workflows(_CLOSED)
    }
    calm = [order for order in await reads.progress(conn, lengths) if _undisturbed(order)]
    ones = [lengths[order.order_id] for order in calm if order.fulfillments == 1]
    middle = statistics.median(ones) if ones else 0
    further = [
        (lengths[order.order_id] - middle) / (order.fulfillments - 1)
        for order in calm
        if order.fulfillments > 1
    ]
    return EventCounts(
        orders=len(calm),
        one_shipment_p50=middle,
        one_shipment_max=max(ones, default=0),
        further_shipment_p50=statistics.median(further) if further else 0,
        further_shipment_max=max(further, default=0),
    )


def _undisturbed(order: OrderProgress) -> bool:
    whole = order.packages == order.fulfillments
    return order.status is OrderStatus.COMPLETED and whole and not order.disturbed
