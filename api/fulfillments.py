"""A node's share of an order, as the node and customer service see it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, status
from sqlalchemy.ext.asyncio import AsyncConnection

from api import problems
from api.answers import Done, Stored
from api.intake import EVENT_BODY, store_event
from api.schemas import FindFulfillments, HandOverGoods
from api.security import (
    ReadsFulfillments,
    WritesEvents,
    WritesPickups,
    actor,
    no_fulfillment,
    sees_fulfillment,
    sees_node,
)
from api.services import Serving
from connectors.nodes import parse_event
from domain.errors import Invalid
from domain.fulfillments import Fulfillment, FulfillmentStatus
from storage import reads, records
from storage.access import Access
from storage.database import transaction
from storage.reads import Page
from workflows import client
from workflows.messages import HandOver

router = APIRouter(prefix="/v1/fulfillments", tags=["fulfillments"])


@router.get("")
async def find(
    access: ReadsFulfillments, services: Serving, asked: Annotated[FindFulfillments, Query()]
) -> Page[Fulfillment]:
    """A node's worklist: what it has to do, the most urgent first."""
    if asked.node is not None and not sees_node(access, asked.node):
        return Page(items=())
    async with transaction(services.read_engine) as conn:
        return await reads.find_fulfillments(
            conn,
            nodes=(asked.node,) if asked.node is not None else access.nodes,
            channels=access.channels,
            status=asked.status,
            cursor=asked.cursor,
            limit=asked.limit,
        )


@router.get("/{fulfillment_id}", responses=problems.documented(404))
async def show(fulfillment_id: str, access: ReadsFulfillments, services: Serving) -> Fulfillment:
    """A fulfillment: what is asked of the node, and how far it is."""
    async with transaction(services.read_engine) as conn:
        return await _own(conn, access, fulfillment_id)


@router.post(
    "/{fulfillment_id}/events",
    status_code=status.HTTP_202_ACCEPTED,
    responses=problems.documented(404, 413),
    openapi_extra=EVENT_BODY,
)
async def tell(
    fulfillment_id: str, request: Request, access: WritesEvents, services: Serving
) -> Stored:
    """
    Tell what happened to a fulfillment. 202 means stored, whether now or before.

    For nodes that do not sign; those that do post the same body to `/webhooks/nodes/{node}`.
    Order does not matter; late and double events are absorbed.
    """
    raw = await request.body()
    async with transaction(services.engine) as conn:
        fulfillment = await _own(conn, access, fulfillment_id)
        event = parse_event(fulfillment.node, raw)
        if event.fulfillment_id != fulfillment_id:
            raise Invalid("fulfillment_id: the body names another fulfillment than the address")
        return Stored(new=await store_event(conn, event, fulfillment, raw))


@router.post("/{fulfillment_id}/hand-over", responses=problems.documented(404, 409))
async def hand_over(
    fulfillment_id: str,
    access: WritesPickups,
    services: Serving,
    body: HandOverGoods | None = None,
) -> Done:
    """
    Hand the goods to the customer. Wait for the 200: after the window it is refused.

    Again, after an answer that was lost, is the same.
    """
    async with transaction(services.read_engine) as conn:
        fulfillment = await _own(conn, access, fulfillment_id)
    if fulfillment.status is FulfillmentStatus.CLOSED and fulfillment.delivered:
        return Done(order_id=fulfillment.order_id, result="collected")
    request = HandOver(
        fulfillment_id=fulfillment_id, by=actor(access), proof=body.proof if body else ""
    )
    order_id = fulfillment.order_id
    result = await client.hand_over(services.temporal, order_id, request)
    return Done(order_id=order_id, result=result)


async def _own(conn: AsyncConnection, access: Access, fulfillment_id: str) -> Fulfillment:
    """The fulfillment, or NotFound where there is none or it is another's."""
    found = await records.fulfillment(conn, fulfillment_id)
    if found is None:
        raise no_fulfillment(fulfillment_id)
    order = await records.state(conn, found.order_id) if access.channels is not None else None
    channel = order.channel if order else ""
    if not sees_fulfillment(access, channel, found.node):
        raise no_fulfillment(fulfillment_id)
    return found
