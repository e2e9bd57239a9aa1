"""What people and clients may do to an order that is under way."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter

from api import problems
from api.answers import Done, Extended
from api.schemas import CancelOrder, ExtendWindow, LiftHold, PutHold, ResolveAttention
from api.security import (
    CancelsOrders,
    ExtendsPickups,
    Operates,
    actor,
    no_fulfillment,
    no_order,
    sees_fulfillment,
    sees_order,
)
from api.services import Services, Serving
from storage import records
from storage.access import Access
from storage.database import transaction
from workflows import client
from workflows.messages import Cancel, ExtendPickup, PlaceHold, ReleaseHold, Resolve

router = APIRouter(
    prefix="/v1/orders/{order_id}", tags=["orders"], responses=problems.documented(404, 409)
)


@router.post("/cancel")
async def cancel(
    order_id: str, access: CancelsOrders, services: Serving, body: CancelOrder | None = None
) -> Done:
    """Cancel what has not left yet. Works at every moment; what ships all the same is kept."""
    await _own(services, access, order_id)
    request = Cancel(by=actor(access), note=body.note if body else "")
    return Done(order_id=order_id, result=await client.cancel(services.temporal, order_id, request))


@router.post("/resolve")
async def resolve(
    order_id: str, access: Operates, services: Serving, body: ResolveAttention | None = None
) -> Done:
    """
    Decide what waits for a person: retry, skip, reroute, approve or cancel. An empty body means
    retry.
    """
    await _own(services, access, order_id)
    asked = body or ResolveAttention()
    request = Resolve(action=asked.action, note=asked.note, item=asked.item, by=actor(access))
    result = await client.resolve(services.temporal, order_id, request)
    return Done(order_id=order_id, result=result)


@router.post("/holds")
async def hold(order_id: str, body: PutHold, access: Operates, services: Serving) -> Done:
    """Let the order wait until the hold is released."""
    await _own(services, access, order_id)
    request = PlaceHold(handle=body.handle, reason=body.reason, by=actor(access))
    result = await client.place_hold(services.temporal, order_id, request)
    return Done(order_id=order_id, result=result)


@router.post("/holds/release")
async def release(
    order_id: str, access: Operates, services: Serving, body: LiftHold | None = None
) -> Done:
    """Release one hold, or all: the order goes on when none is left."""
    await _own(services, access, order_id)
    asked = body or LiftHold()
    request = ReleaseHold(handle=asked.handle, note=asked.note, by=actor(access))
    result = await client.release_hold(services.temporal, order_id, request)
    return Done(order_id=order_id, result=result)


@router.post("/extend-pickup")
async def extend_pickup(
    order_id: str, access: ExtendsPickups, services: Serving, body: ExtendWindow | None = None
) -> Extended:
    """Give the customer more open days to collect. Refused once the window has expired."""
    asked = body or ExtendWindow()
    if access.nodes is None:
        await _own(services, access, order_id)
    else:
        await _own_share(services, access, order_id, asked.fulfillment_id)
    request = ExtendPickup(days=asked.days, fulfillment_id=asked.fulfillment_id, by=actor(access))
    until = await client.extend_pickup(services.temporal, order_id, request)
    return Extended(order_id=order_id, pickup_until=datetime.fromisoformat(until))


async def _own(services: Services, access: Access, order_id: str) -> None:
    """
    Raise NotFound where the order is not this key's to see.

    A key without bounds goes straight to the workflow, which also knows an order not yet recorded.
    """
    if access.channels is None and access.nodes is None:
        return
    async with transaction(services.read_engine) as conn:
        state = await records.state(conn, order_id)
    if state is None or not sees_order(access, state.channel):
        raise no_order(order_id)


async def _own_share(
    services: Services, access: Access, order_id: str, fulfillment_id: str
) -> None:
    """A key bound to nodes must name its own fulfillment."""
    async with transaction(services.read_engine) as conn:
        state = await records.state(conn, order_id)
    named = (f for f in state.fulfillments if f.fulfillment_id == fulfillment_id) if state else ()
    if state is None or not any(sees_fulfillment(access, state.channel, f.node) for f in named):
        raise no_fulfillment(fulfillment_id)
