"""The generic node: signed JSON over HTTP, by docs/node-protocol.md."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from connectors import http, signing
from connectors.nodes.base import Answer, CancelAnswer
from domain.errors import Outage
from domain.fulfillments import Fulfillment
from domain.network import Node
from domain.orders import Address, DeliveryMethod, Order
from domain.values import Value

_RECEIVED: Final = frozenset({200, 202})
_REFUSED: Final = frozenset({409, 422})


class _Line(Value):
    line_id: str
    sku: str
    quantity: int


class _Request(Value):
    fulfillment_id: str
    order_id: str
    node: str
    method: DeliveryMethod
    service: str
    ship_by: datetime
    deliver_by: datetime
    lines: tuple[_Line, ...]
    ship_to: Address


class _Cancel(Value):
    reason: str


class _Said(Value):
    status: str = ""
    reason: str = ""


class SignedHttp:
    """Implements NodeAdapter. The clock stamps the signatures."""

    def __init__(
        self, client: httpx.AsyncClient, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._client = client
        self._clock = clock

    async def request(
        self, node: Node, fulfillment: Fulfillment, order: Order, *, secret: str
    ) -> Answer:
        answer = await self._post(
            node,
            "/fulfillment-requests",
            _asked(fulfillment, order),
            message_id=fulfillment.fulfillment_id,
            secret=secret,
        )
        if answer.status in _RECEIVED:
            return Answer(received=True)
        if answer.status in _REFUSED:
            return Answer(received=False, reason=answer.message() or f"said {answer.status}")
        raise _unclear(node, answer)

    async def cancel(
        self, node: Node, fulfillment_id: str, reason: str, *, secret: str
    ) -> CancelAnswer:
        answer = await self._post(
            node,
            f"/fulfillment-requests/{quote(fulfillment_id, safe='')}/cancel",
            _Cancel(reason=reason),
            message_id=f"{fulfillment_id}-cancel",
            secret=secret,
        )
        said = _said(answer)
        # A proof needs the node's own word: a proxy's 404 or a stray 200 proves nothing.
        match answer.status, said.status:
            case 200, "cancelled":
                return CancelAnswer(answer="cancelled", reason=said.reason)
            case 404, "never_received":
                return CancelAnswer(answer="never_received", reason=said.reason)
            case 409, _:
                return CancelAnswer(answer="refused", reason=said.reason or answer.message())
            case 202, _:
                return CancelAnswer(answer="pending", reason=said.reason)
            case _:
                raise _unclear(node, answer)

    async def _post(
        self, node: Node, path: str, body: Value, *, message_id: str, secret: str
    ) -> http.Answer:
        raw = body.model_dump_json().encode()
        signed = signing.sign(secret, message_id, self._clock(), raw)
        return await http.exchange(
            self._client,
            "POST",
            node.url.rstrip("/") + path,
            system=f"node {node.code}",
            headers={"content-type": "application/json", **signed},
            content=raw,
        )


def _asked(fulfillment: Fulfillment, order: Order) -> _Request:
    return _Request(
        fulfillment_id=fulfillment.fulfillment_id,
        order_id=fulfillment.order_id,
        node=fulfillment.node,
        method=fulfillment.method,
        service=fulfillment.service,
        ship_by=fulfillment.ship_by,
        deliver_by=fulfillment.deliver_by,
        lines=tuple(
            _Line(
                line_id=asked.line_id,
                sku=fulfillment.skus.get(asked.line_id, ""),
                quantity=asked.quantity,
            )
            for asked in fulfillment.lines
        ),
        ship_to=order.ship_to,
    )


def _said(answer: http.Answer) -> _Said:
    try:
        said = _Said.model_validate_json(answer.body)
    except ValidationError:
        return _Said()
    return said.model_copy(update={"reason": http.line(said.reason)})


def _unclear(node: Node, answer: http.Answer) -> Outage:
    """The protocol knows no such answer, so it says nothing about the goods: ask again."""
    message = f"said {answer.status}: {answer.message() or 'nothing more'}"
    return Outage(f"node {node.code}", message, retry_after=answer.retry_after)
