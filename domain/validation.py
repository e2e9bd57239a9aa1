"""Whether an order may go on: each validator passes it, holds it with a reason, or rejects it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal

from domain.orders import DeliveryMethod, Hold, Order
from domain.values import Value


class Verdict(Value):
    """A rejection ends the order; holds wait for whoever owns them."""

    outcome: Literal["pass", "hold", "reject"]
    holds: tuple[Hold, ...] = ()
    code: str = ""
    reason: str = ""


Finding = Hold | Verdict | None
Skus = Mapping[str, str]

# What a channel, or the reading of its document, holds an order for.
_ASKED: Final[Mapping[str, str]] = {
    "channel_hold": "{channel} has it on hold, or waits for its payment",
    "delivery_unknown": "{channel} did not say how it is to be delivered",
    "fractional_quantity": "{channel} sold a fraction of a unit; it was rounded up",
    "pickup_location_unknown": "{channel} names a store for its pickup that is none of our nodes",
    "unclear_amount": "an amount that {channel} wrote could not be read",
}


def validate(order: Order, skus: Skus, *, has_store: bool = True) -> Verdict:
    """
    `skus` maps line ids to catalogue SKUs, empty where the catalogue knows none; `has_store` says
    whether the node at which the order would be collected is a store of ours.
    """
    findings = [validator(order, skus) for validator in VALIDATORS]
    if order.method is DeliveryMethod.PICKUP and not has_store:
        findings.append(_no_store(order))
    rejected = next((f for f in findings if isinstance(f, Verdict)), None)
    if rejected is not None:
        return rejected
    holds = tuple(f for f in findings if isinstance(f, Hold))
    asked = tuple(_asked(handle, order.channel) for handle in order.holds)
    found = (*holds, *asked)
    return Verdict(outcome="hold" if found else "pass", holds=found)


def _asked(handle: str, channel: str) -> Hold:
    words = _ASKED.get(handle, "{channel} asked for it (" + handle + ")")
    return Hold(handle=handle, reason=words.replace("{channel}", channel))


def _fraud(order: Order, _: Skus) -> Finding:
    if order.fraud == "reject":
        return Verdict(outcome="reject", code="fraud", reason="the fraud check says no")
    if order.fraud == "review":
        return Hold(handle="fraud_review", reason="the fraud check wants a person to look")
    return None


def _products(order: Order, skus: Skus) -> Finding:
    unknown = [line for line in order.lines if not skus.get(line.line_id)]
    if not unknown:
        return None
    names = ", ".join(_name(line.sku, line.aliases, line.title) for line in unknown[:5])
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""  # noqa: PLR2004
    return Hold(handle="unknown_sku", reason=f"not in the catalogue: {names}{more}")


def _address(order: Order, _: Skus) -> Finding:
    address = order.ship_to
    if order.method is DeliveryMethod.PICKUP or address.country or address.postal_code:
        return None
    return Hold(handle="address_missing", reason="there is no address to ship to")


def _no_store(order: Order) -> Hold:
    reason = f"{order.pickup_node} is none of our stores where goods are collected"
    return Hold(handle="pickup_location_unknown", reason=reason)


def _total(order: Order, _: Skus) -> Finding:
    if order.total_minor < 0:
        return Hold(handle="total_negative", reason="the order's total is below zero")
    return None


def _name(sku: str, aliases: tuple[str, ...], title: str) -> str:
    return sku or next(iter(aliases), "") or title or "a line without any name"


VALIDATORS: Final[tuple[Callable[[Order, Skus], Finding], ...]] = (
    _fraud,
    _products,
    _address,
    _total,
)
