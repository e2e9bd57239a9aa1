"""The talk with nodes: a request, and the wish to have it back. One request reaches a node."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from connectors.nodes import NodeAdapter
from domain.errors import Conflict, NotFound
from domain.fulfillments import Fulfillment, NodeEvent, RequestStatus
from domain.network import Node
from domain.orders import Order
from domain.records import OrderEvent
from domain.values import Value
from storage import inbox, network, records
from storage.database import transaction
from workflows import ports
from workflows.codec import Keyring
from workflows.ports import Dispatched, Recall, Recalled


class _Case(Value):
    """All that a talk about one fulfillment needs."""

    fulfillment: Fulfillment
    order: Order
    node: Node
    secret: str
    submitted: bool
    held: bool
    events: tuple[NodeEvent, ...]


class Nodes(ports.Nodes):
    def __init__(
        self, engine: AsyncEngine, adapters: Mapping[str, NodeAdapter], keyring: Keyring
    ) -> None:
        self._engine = engine
        self._adapters = adapters
        self._keyring = keyring

    @activity.defn
    async def dispatch(self, fulfillment_id: str) -> Dispatched:
        case = await self._case(fulfillment_id)
        if case.submitted:
            return Dispatched(events=case.events)
        if case.held:  # since we were asked to
            return Dispatched(held=True)
        f, node = case.fulfillment, case.node
        answer = await self._adapter(node).request(node, f, case.order, secret=case.secret)
        request = RequestStatus.SUBMITTED if answer.received else RequestStatus.REJECTED
        words = "received our request" if answer.received else f"refused: {answer.reason}"
        await self._mark(f, request, f"{fulfillment_id}:{request.value}", f"{node.code} {words}")
        return Dispatched(refused="" if answer.received else answer.reason or "refused")

    @activity.defn
    async def recall(self, request: Recall) -> Recalled:
        case = await self._case(request.fulfillment_id)
        f, node = case.fulfillment, case.node
        answer = await self._adapter(node).cancel(
            node, f.fulfillment_id, request.reason, secret=case.secret
        )
        status = {
            "cancelled": RequestStatus.CANCELLATION_ACCEPTED,
            "never_received": RequestStatus.CANCELLATION_ACCEPTED,
            "refused": RequestStatus.CANCELLATION_REJECTED,
            "pending": RequestStatus.CANCELLATION_REQUESTED,
        }[answer.answer]
        words = f"{node.code} on our wish to have it back ({request.reason}): {answer.answer}"
        key = f"{f.fulfillment_id}:{status.value}"
        await self._mark(f, status, key, f"{words} {answer.reason}".strip())
        events = (await self._case(request.fulfillment_id)).events
        return Recalled(answer=answer.answer, reason=answer.reason, events=events)

    async def _case(self, fulfillment_id: str) -> _Case:
        async with transaction(self._engine) as conn:
            f = await records.fulfillment(conn, fulfillment_id)
            order = await records.order(conn, f.order_id) if f else None
            node = await network.node(conn, f.node) if f else None
            if f is None or order is None or node is None:
                raise NotFound(f"no fulfillment {fulfillment_id}, or not its order or node")
            sealed = await network.credential(conn, f"node:{node.code}", "secret")
            submitted = await records.submitted(conn, fulfillment_id)
            held = await records.held(conn, f.order_id)
            events = await inbox.events_of(conn, fulfillment_id)
        if sealed is None:
            raise NotFound(f"node {node.code} has no secret: set its credential", code="no_secret")
        return _Case(
            fulfillment=f,
            order=order,
            node=node,
            secret=self._keyring.unseal(sealed),
            submitted=submitted,
            held=held,
            events=events,
        )

    def _adapter(self, node: Node) -> NodeAdapter:
        if node.adapter not in self._adapters:
            raise Conflict(f"node {node.code} asks for an unknown adapter {node.adapter!r}")
        return self._adapters[node.adapter]

    async def _mark(self, f: Fulfillment, request: RequestStatus, key: str, summary: str) -> None:
        told = OrderEvent(
            type=f"request_{request.value}",
            summary=summary,
            cause=key,
            fulfillment_id=f.fulfillment_id,
        )
        async with transaction(self._engine) as conn:
            now = datetime.now(UTC)
            await records.mark_request(conn, f.fulfillment_id, request, now, key, told)
