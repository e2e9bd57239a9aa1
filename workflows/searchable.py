"""The search attributes of an order, and when a change of them is worth an event."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from temporalio.common import SearchAttributeUpdate

from domain.fulfillments import ENDED
from domain.lifecycle import nodes
from domain.orders import OrderStatus
from domain.records import OrderState
from workflows import addressing

# Not worth an event of history of their own: the one lasts a moment (where it lasts, a person is
# asked, and that is), and of the other the order still is in fulfillment.
_QUIET: Final = frozenset({OrderStatus.SOURCING, OrderStatus.PARTIALLY_SHIPPED})


@dataclass(frozen=True)
class Searchable:
    """What they say of an order. Each upsert is an event of history."""

    status: str
    attention: tuple[str, ...]
    nodes: tuple[str, ...]
    promise_by: datetime | None
    ship_by: datetime | None

    @classmethod
    def of(cls, state: OrderState) -> Searchable:
        to_ship = [f.ship_by for f in state.fulfillments if f.status not in ENDED]
        return cls(
            status=state.status.value,
            attention=tuple(sorted({code for a in state.attention for code in a.codes})),
            nodes=tuple(nodes(state)),
            promise_by=state.promise_by,
            ship_by=min(to_ship, default=None),
        )

    def wakes(self, before: Searchable) -> bool:
        """
        Whether it is worth an event. The date by which to ship alone is not: it moves with every
        shipment.
        """
        status = before.status if self.status in _QUIET else self.status
        return replace(self, status=status, ship_by=before.ship_by) != before

    def updates(self, before: Searchable) -> list[SearchAttributeUpdate[Any]]:
        updates: list[SearchAttributeUpdate[Any]] = []
        if self.status != before.status:
            updates.append(addressing.ORDER_STATUS.value_set(self.status))
        if self.attention != before.attention:
            reasons = addressing.ATTENTION_REASON
            some = self.attention
            updates.append(reasons.value_set(list(some)) if some else reasons.value_unset())
        if self.nodes != before.nodes:
            updates.append(addressing.NODES.value_set(list(self.nodes)))
        if self.promise_by and self.promise_by != before.promise_by:
            updates.append(addressing.PROMISE_BY.value_set(self.promise_by))
        if self.ship_by and self.ship_by != before.ship_by:
            updates.append(addressing.SHIP_BY.value_set(self.ship_by))
        return updates
