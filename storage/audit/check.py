"""One check of the auditor, and the words that its query may use."""

from enum import StrEnum
from typing import Final, Literal, NamedTuple

from domain.fulfillments import ENDED, FulfillmentStatus, RequestStatus
from domain.orders import GONE, SETTLED, TERMINAL, Bucket

Severity = Literal["error", "warning"]


class Check(NamedTuple):
    """
    `query` answers `subject` and `message` for each breach; it may use `WORDS` and `grace`.

    Where there is a `relation`, it answers the `key` of the row in it that is wrong, or seems so.
    With `by_sku` it looks at the SKUs in `skus` alone where that is not null.
    """

    invariant: int
    query: str
    severity: Severity = "error"
    relation: str = ""
    by_sku: bool = False


def _values(*words: StrEnum) -> list[str]:
    return [word.value for word in words]


WORDS: Final = {
    "ended": _values(*ENDED),
    "short": _values(FulfillmentStatus.CANCELLED, FulfillmentStatus.INCOMPLETE),
    "open_requests": _values(
        RequestStatus.SUBMITTED,
        RequestStatus.ACCEPTED,
        RequestStatus.CANCELLATION_REQUESTED,
        RequestStatus.UNKNOWN,
    ),
    "gone": _values(*GONE),
    "reserved": _values(Bucket.RESERVED),
    "arrived": _values(Bucket.DELIVERED, Bucket.PICKED_UP),
    "settled": _values(*SETTLED),
    "terminal": _values(*TERMINAL),
    "at_node": _values(Bucket.ALLOCATED, Bucket.RELEASED, Bucket.READY_FOR_PICKUP),
}
