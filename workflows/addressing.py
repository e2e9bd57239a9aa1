"""Where things are: workflow ids, task queues and who works on them, search attributes."""

from __future__ import annotations

from typing import Final, Literal, get_args

from temporalio.common import SearchAttributeKey

ORDERS: Final = "orders"

# The work of a worker process: one task queue each, but for the pumps, which have none. Several
# processes may share a role.
Role = Literal["workflows", "partners", "sourcing", "pumps"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

ORDER_STATUS: Final = SearchAttributeKey.for_keyword("OrderStatus")
CHANNEL: Final = SearchAttributeKey.for_keyword("Channel")
NODES: Final = SearchAttributeKey.for_keyword_list("Nodes")
ATTENTION_REASON: Final = SearchAttributeKey.for_keyword_list("AttentionReason")
PROMISE_BY: Final = SearchAttributeKey.for_datetime("PromiseBy")
SHIP_BY: Final = SearchAttributeKey.for_datetime("ShipBy")
SEARCH_ATTRIBUTES: Final = (
    ORDER_STATUS,
    CHANNEL,
    NODES,
    ATTENTION_REASON,
    PROMISE_BY,
    SHIP_BY,
)


def order_workflow_id(order_id: str) -> str:
    return f"order-{order_id}"


def partners_queue(queue: str) -> str:
    """Where the calls to partners wait, so that a dead partner holds up nothing else."""
    return f"{queue}-partners"


def sourcing_queue(queue: str) -> str:
    """Where heavy decisions wait."""
    return f"{queue}-sourcing"
