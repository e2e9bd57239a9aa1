"""What the order commands ask of an installation."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from pydantic import ValidationError

from api.schemas import PlaceOrder
from cli.target import installation
from cli.wiring import conversation, temporal
from domain.errors import Invalid, NotFound
from domain.orders import Order, OrderStatus
from storage import reads
from storage.reads import OrderCard, OrderSummary
from workflows import client
from workflows.messages import Submitted

_READS: Final = ("postgres",)
_ANSWER: Final = timedelta(seconds=15)


async def submit(text: str) -> Submitted:
    """The body is that of POST /v1/orders. Raises Invalid, which names the field."""
    order = read_order(text)
    async with installation() as settings:
        return await client.submit(await temporal(settings), order, settings.patience, _ANSWER)


def read_order(text: str) -> Order:
    """The order of a body of POST /v1/orders. Raises Invalid, which names the field."""
    try:
        return PlaceOrder.model_validate_json(text).order()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "the order"
        raise Invalid(f"{field}: {first['msg']}") from None


async def card(order_id: str) -> OrderCard:
    """Raises NotFound."""
    async with conversation(start=_READS, read_only=True) as conn:
        found = await reads.order_card(conn, order_id)
    if found is None:
        raise NotFound(f"no order {order_id}")
    return found


async def find(
    *, status: OrderStatus | None, channel: str, query: str, limit: int, attention: bool
) -> tuple[OrderSummary, ...]:
    """The newest orders that match; empty filters match all."""
    async with conversation(start=_READS, read_only=True) as conn:
        page = await reads.find_orders(
            conn,
            status=status,
            channel=channel or None,
            q=query or None,
            attention="" if attention else None,
            limit=limit,
        )
    return page.items
