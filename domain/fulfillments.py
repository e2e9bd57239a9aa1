"""One node's share of an order: two axes, status and request, and the events that move them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import Field

from domain.orders import DeliveryMethod
from domain.values import Value


class FulfillmentStatus(StrEnum):
    OPEN = "open"
    IN_PROGRESS = "in_progress"
    INCOMPLETE = "incomplete"
    CLOSED = "closed"
    CANCELLED = "cancelled"


class RequestStatus(StrEnum):
    """
    How the talk with the node stands. `unknown`: it did not answer; nothing is given elsewhere.
    """

    UNSUBMITTED = "unsubmitted"
    SUBMITTED = "submitted"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    CANCELLATION_REQUESTED = "cancellation_requested"
    CANCELLATION_ACCEPTED = "cancellation_accepted"
    CANCELLATION_REJECTED = "cancellation_rejected"
    CLOSED = "closed"
    UNKNOWN = "unknown"


class NodeEventType(StrEnum):
    """What a node may tell us of a fulfillment."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    EXCEPTION = "exception"
    CANCELLED = "cancelled"
    READY_FOR_PICKUP = "ready_for_pickup"
    COLLECTED = "collected"


class LineQuantity(Value):
    line_id: str
    quantity: Annotated[int, Field(ge=1)]


class Package(Value):
    tracking_number: str
    carrier: str = ""
    service: str = ""


class NodeEvent(Value):
    """
    One statement of a node about one fulfillment, known by its event id for ever.

    `lines` are the units that a `shipped` event speaks of; none means all that remain. `final`
    false says that more shipments follow; true that what is not in it will not come (a short
    shipment).
    """

    event_id: Annotated[str, Field(min_length=1, max_length=128)]
    fulfillment_id: str
    node: str
    type: NodeEventType
    occurred_at: datetime
    reason: str = ""
    lines: tuple[LineQuantity, ...] = ()
    packages: tuple[Package, ...] = ()
    final: bool = True


class Fulfillment(Value):
    """
    One node's share of an order, the unit of work and of talk with a partner.

    `shipped` and `delivered` count units by line; `seen` are the node events already taken in.
    `ship_by` and `deliver_by` are the plan's; `pickup_until` is set when the store says ready.
    Before `release_at` the node is not asked; None is at once.
    `goods_minor` is this share of the order's goods value.
    """

    fulfillment_id: str
    order_id: str
    node: str
    method: DeliveryMethod
    service: str
    lines: tuple[LineQuantity, ...]
    skus: dict[str, str]
    status: FulfillmentStatus = FulfillmentStatus.OPEN
    request: RequestStatus = RequestStatus.UNSUBMITTED
    shipped: dict[str, int] = {}
    delivered: dict[str, int] = {}
    packages: tuple[Package, ...] = ()
    seen: tuple[str, ...] = ()
    ship_by: datetime
    deliver_by: datetime
    pickup_until: datetime | None = None
    release_at: datetime | None = None
    cost_minor: int = 0
    goods_minor: int = 0
    reason: str = ""

    def remaining(self) -> tuple[LineQuantity, ...]:
        """What the node still has to ship."""
        left = ((lq.line_id, lq.quantity - self.shipped.get(lq.line_id, 0)) for lq in self.lines)
        return tuple(LineQuantity(line_id=line, quantity=q) for line, q in left if q > 0)


_S, _R = FulfillmentStatus, RequestStatus
_State = tuple[FulfillmentStatus, RequestStatus]

# What may follow what. `dispatch`, `recall`, `recall_refused`, `no_answer`, `vouched`, `expired`
# and `moved` (the work is taken back before the node was asked) are ours; the others are the node's
# own words. A pair and an event that are not here are absorbed.
TRANSITIONS: Final[dict[_State, dict[str, _State]]] = {
    (_S.OPEN, _R.UNSUBMITTED): {
        "dispatch": (_S.OPEN, _R.SUBMITTED),
        "recall": (_S.OPEN, _R.CANCELLATION_REQUESTED),
        "moved": (_S.CANCELLED, _R.CLOSED),
        "accepted": (_S.IN_PROGRESS, _R.ACCEPTED),
        "rejected": (_S.CANCELLED, _R.REJECTED),
        "shipped": (_S.CLOSED, _R.CLOSED),
        "partly_shipped": (_S.IN_PROGRESS, _R.ACCEPTED),
        "no_answer": (_S.OPEN, _R.UNKNOWN),
        "vouched": (_S.CANCELLED, _R.CLOSED),
    },
    (_S.OPEN, _R.SUBMITTED): {
        "accepted": (_S.IN_PROGRESS, _R.ACCEPTED),
        "rejected": (_S.CANCELLED, _R.REJECTED),
        "shipped": (_S.CLOSED, _R.CLOSED),
        "partly_shipped": (_S.IN_PROGRESS, _R.ACCEPTED),
        "short_shipped": (_S.INCOMPLETE, _R.CLOSED),
        "ready_for_pickup": (_S.IN_PROGRESS, _R.ACCEPTED),
        "collected": (_S.CLOSED, _R.CLOSED),
        "cancelled": (_S.CANCELLED, _R.CANCELLATION_ACCEPTED),
        "exception": (_S.CANCELLED, _R.REJECTED),
        "no_answer": (_S.OPEN, _R.UNKNOWN),
        "recall": (_S.OPEN, _R.CANCELLATION_REQUESTED),
        "vouched": (_S.CANCELLED, _R.CLOSED),
    },
    (_S.IN_PROGRESS, _R.ACCEPTED): {
        "rejected": (_S.CANCELLED, _R.REJECTED),
        "shipped": (_S.CLOSED, _R.CLOSED),
        "partly_shipped": (_S.IN_PROGRESS, _R.ACCEPTED),
        "short_shipped": (_S.INCOMPLETE, _R.CLOSED),
        "ready_for_pickup": (_S.IN_PROGRESS, _R.ACCEPTED),
        "collected": (_S.CLOSED, _R.CLOSED),
        "expired": (_S.CANCELLED, _R.CLOSED),
        "cancelled": (_S.CANCELLED, _R.CANCELLATION_ACCEPTED),
        "exception": (_S.CANCELLED, _R.CLOSED),
        "no_answer": (_S.IN_PROGRESS, _R.UNKNOWN),
        "recall": (_S.IN_PROGRESS, _R.CANCELLATION_REQUESTED),
        "vouched": (_S.CANCELLED, _R.CLOSED),
    },
}
for _status in (_S.OPEN, _S.IN_PROGRESS):
    for _request in (_R.CANCELLATION_REQUESTED, _R.CANCELLATION_REJECTED, _R.UNKNOWN):
        TRANSITIONS[_status, _request] = {
            "accepted": (
                _S.IN_PROGRESS,
                _R.ACCEPTED if _request is _R.UNKNOWN else _request,
            ),
            "rejected": (_S.CANCELLED, _R.REJECTED),
            "shipped": (_S.CLOSED, _R.CLOSED),
            "partly_shipped": (_S.IN_PROGRESS, _request),
            "short_shipped": (_S.INCOMPLETE, _R.CLOSED),
            "ready_for_pickup": (_S.IN_PROGRESS, _request),
            "collected": (_S.CLOSED, _R.CLOSED),
            "expired": (_S.CANCELLED, _R.CLOSED),
            "cancelled": (_S.CANCELLED, _R.CANCELLATION_ACCEPTED),
            "exception": (_S.CANCELLED, _R.CLOSED),
            "recall": (_status, _R.CANCELLATION_REQUESTED),
            "recall_refused": (_S.IN_PROGRESS, _R.CANCELLATION_REJECTED),
            "no_answer": (_status, _R.UNKNOWN),
            "vouched": (_S.CANCELLED, _R.CLOSED),
        }
TRANSITIONS[_S.OPEN, _R.UNKNOWN]["dispatch"] = (_S.OPEN, _R.SUBMITTED)

ENDED: Final = frozenset({_S.CLOSED, _S.CANCELLED, _S.INCOMPLETE})


def advance(fulfillment: Fulfillment, event: str) -> Fulfillment | None:
    """The fulfillment after an event, or None where the event comes too late to mean anything."""
    after = TRANSITIONS.get((fulfillment.status, fulfillment.request), {}).get(event)
    if after is None:
        return None
    return fulfillment.model_copy(update={"status": after[0], "request": after[1]})
