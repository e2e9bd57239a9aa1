"""Orders come in here and can be looked up here."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated, Final, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Response, status
from temporalio.service import RPCError

from api import problems, story
from api.answers import OrderCard, SubmitPending
from api.problems import Forbidden
from api.promises import promised
from api.schemas import AfterEntry, FindOrders, PlaceOrder
from api.security import ReadsOrders, WritesOrders, no_order, sees_order
from api.services import Services, Serving
from domain.errors import Conflict, NotFound, Outage, Refused
from domain.orders import Order, OrderStatus
from domain.records import OrderState
from storage import backorders, intake, reads, records
from storage.access import Access
from storage.database import transaction
from storage.reads import OrderSummary, Page, TimelineEvent
from workflows import client
from workflows.addressing import order_workflow_id
from workflows.client import Pending
from workflows.messages import StartOrder, Submitted

router = APIRouter(prefix="/v1/orders", tags=["orders"])

ANSWER: Final = timedelta(seconds=10)
Outcome = Literal["accepted", "held", "backordered", "refused", "duplicate"]

_PLACED = {
    200: {"model": Submitted, "description": "The same order again: as it stands now."},
    202: {"model": SubmitPending, "description": "Stored; its outcome is not known yet."},
    **problems.documented(409),
}


@router.post("", status_code=status.HTTP_201_CREATED, responses=_PLACED)
async def place(
    body: PlaceOrder, access: WritesOrders, services: Serving, response: Response
) -> Submitted | SubmitPending:
    """
    Place an order.

    The answer says at once whether it is accepted, held or backordered; a refusal is a problem with
    its code. (`channel`, `channel_order_id`) is its identity: the same order again answers 200 and
    changes nothing, another one under the same identity is a conflict. With the `promise_token` of
    a quote it gets that plan and date; a token that does not fit is refused.
    """
    if not sees_order(access, body.channel):
        raise Forbidden(f"this key may not place orders of channel {body.channel}")
    order = await promised(services, body.order())
    known = await _known(services, order)
    if known is not None:
        response.status_code = status.HTTP_200_OK
        return _or_refused(known)
    response.headers["Location"] = f"/v1/orders/{quote(order.order_id, safe='')}"
    try:
        submitted = await client.submit(services.temporal, order, services.patience, ANSWER)
    except Pending:
        await _durable(services, order)
        response.status_code = status.HTTP_202_ACCEPTED
        return SubmitPending(order_id=order.order_id)
    if submitted.outcome == "duplicate":
        response.status_code = status.HTTP_200_OK
    return _or_refused(submitted)


@router.get("")
async def find(
    access: ReadsOrders, services: Serving, asked: Annotated[FindOrders, Query()]
) -> Page[OrderSummary]:
    """Search orders, newest first."""
    if not _may_find(access, asked.channel):
        return Page(items=())
    async with transaction(services.read_engine) as conn:
        return await reads.find_orders(conn, channels=access.channels, **asked.model_dump())


@router.get("/{order_id}", responses=problems.documented(404))
async def card(order_id: str, access: ReadsOrders, services: Serving) -> OrderCard:
    """
    Where is it, when will it come, why from there, what went wrong, who did what.

    Of an order that its channel sent and that was declined, the problem's detail tells why.
    """
    async with transaction(services.read_engine) as conn:
        record = await reads.order_card(conn, order_id)
        declined = None if record else await intake.declined(conn, order_id)
        awaits = await backorders.awaited(conn, order_id)
    if declined is not None and sees_order(access, declined.channel):
        raise NotFound(f"there is no order {order_id}: {story.declined(declined)}")
    if record is None or not sees_order(access, record.order.channel):
        raise no_order(order_id)
    return story.card(record, awaits)


@router.get("/{order_id}/timeline", responses=problems.documented(404))
async def timeline(
    order_id: str,
    access: ReadsOrders,
    services: Serving,
    asked: Annotated[AfterEntry, Query()],
) -> Page[TimelineEvent]:
    """Who did what, oldest first."""
    async with transaction(services.read_engine) as conn:
        _seen(await records.state(conn, order_id), access, order_id)
        events = await reads.timeline(conn, order_id, after=asked.after, limit=asked.limit)
    more = str(events[-1].seq) if len(events) == asked.limit else None
    return Page(items=events, next=more)


async def _known(services: Services, order: Order) -> Submitted | None:
    """
    The answer from the record, where this very order stands there; Conflict where another does.

    None also where it is still being checked: only its workflow can answer for it.
    The record outlives the workflow, whose id Temporal forgets after the namespace's retention.
    """
    async with transaction(services.engine) as conn:
        state = await records.state(conn, order.order_id)
        if state is None or state.status is OrderStatus.RECEIVED:
            return None
        stored = await records.order(conn, order.order_id)
    if stored != order:
        raise another_order(order)
    return as_submitted(state)


async def _durable(services: Services, order: Order) -> None:
    """
    Raise unless Temporal has this very order, though no worker has answered for it yet.

    A deadline that passed says nothing: the request may never have arrived. The first event of the
    workflow's history says it.
    """
    handle = services.temporal.get_workflow_handle(order_workflow_id(order.order_id))
    try:
        async with asyncio.timeout(ANSWER.total_seconds()):
            first = await anext(handle.fetch_history_events(page_size=1))
            payloads = first.workflow_execution_started_event_attributes.input.payloads
            [start] = await services.temporal.data_converter.decode(payloads, [StartOrder])
    except (RPCError, RuntimeError, TimeoutError) as error:
        raise Outage("temporal", "did not take the order") from error
    if start.order != order:
        raise another_order(order)


def another_order(order: Order) -> Conflict:
    return Conflict(f"order {order.order_id} is already here with other content")


def as_submitted(state: OrderState) -> Submitted:
    """What `submit` would answer of an order in this state."""
    outcome: Outcome = "accepted"
    if state.status is OrderStatus.REJECTED:
        outcome = "refused"
    elif state.status is OrderStatus.ON_HOLD:
        outcome = "held"
    elif state.status is OrderStatus.BACKORDERED:
        outcome = "backordered"
    return Submitted(
        order_id=state.order_id,
        status=state.status,
        outcome=outcome,
        code=state.reason if outcome == "refused" else "",
        reason=state.reason.replace("_", " "),
        holds=state.holds,
        missing=state.short,
    )


def _or_refused(submitted: Submitted) -> Submitted:
    if submitted.outcome == "refused":
        raise Refused(
            submitted.reason or "the order is refused", code=submitted.code or "order_refused"
        )
    return submitted


def _may_find(access: Access, channel: str | None) -> bool:
    return access.nodes is None and (channel is None or sees_order(access, channel))


def _seen(state: OrderState | None, access: Access, order_id: str) -> None:
    if state is None or not sees_order(access, state.channel):
        raise no_order(order_id)
