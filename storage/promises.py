"""Quoted plans with a time to live: kept for whoever orders, claimed by one order each."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Invalid
from domain.kits import exploded
from domain.orders import DeliveryMethod, Order, Units
from domain.promises import Promise, destination, units_by_sku
from storage import kits, network
from storage.tables import promises

_KEPT_AFTER: Final = timedelta(hours=1)
_SWEPT_AT_ONCE: Final = 200
_CURE: Final = "quote the cart again (POST /v1/promises), or leave the token out"


class Claimed(NamedTuple):
    """A promise that is the order's, and when the order came for it."""

    promise: Promise
    at: datetime


async def keep(conn: AsyncConnection, made: Sequence[Promise], now: datetime) -> None:
    """Write promises down, and sweep away some that nobody claimed."""
    late = (
        select(promises.c.token)
        .where(promises.c.order_id.is_(None), promises.c.expires_at < now - _KEPT_AFTER)
        .limit(_SWEPT_AT_ONCE)
        .with_for_update(skip_locked=True)
    )
    await conn.execute(delete(promises).where(promises.c.token.in_(late)))
    await conn.execute(
        insert(promises),
        [
            {"token": p.token, "channel": p.channel, "body": p, "expires_at": p.expires_at}
            for p in made
        ],
    )


async def claim(
    conn: AsyncConnection, order: Order, units: Mapping[str, int], now: datetime
) -> Promise:
    """
    The order takes the promise of its token, once and for ever: again, it finds it its own, however
    late. `units` are the order's, by the catalogue's SKUs.

    Raises Invalid with one of the codes promise_unknown (there is none, or it is another
    channel's), promise_used, promise_expired, promise_mismatch (another cart, address or method).
    """
    query = select(promises).where(promises.c.token == order.promise_token)
    row = (await conn.execute(query.with_for_update())).first()
    if row is None or row.channel != order.channel:
        raise _no("promise_unknown", f"channel {order.channel} was promised no such thing")
    if row.order_id not in (None, order.order_id):
        raise _no("promise_used", f"order {row.order_id} has it")
    if row.order_id is None and now >= row.expires_at:
        raise _no("promise_expired", f"it ended at {row.expires_at:%Y-%m-%dT%H:%M:%SZ}")
    promise = Promise.model_validate(row.body)
    if other := _other(promise, order, units):
        raise _no("promise_mismatch", f"it was quoted for {other}")
    if row.order_id is None:
        await conn.execute(
            update(promises)
            .where(promises.c.token == promise.token)
            .values(order_id=order.order_id, claimed_at=now)
        )
    return promise


async def dated(conn: AsyncConnection, order: Order, now: datetime) -> Order:
    """
    The order with the date that its token promises, claimed for it, and the reservation that was
    made with the quote. Raises as `claim` does.
    """
    names = [(line.sku, *line.aliases) for line in order.lines]
    found = await network.resolve_skus(conn, names)
    sold = [
        Units(line_id=line.line_id, sku=sku or line.sku, quantity=line.quantity)
        for line, sku in zip(order.lines, found, strict=True)
    ]
    made_of = await kits.recipes(conn, [sku for sku in found if sku])
    units = units_by_sku(exploded(sold, made_of))
    claimed = await claim(conn, order, units, now)
    reservation = order.reservation or claimed.reservation
    promised = {"deliver_by": claimed.deliver_by, "reservation": reservation}
    return order.model_copy(update=promised)


async def of_order(conn: AsyncConnection, order: Order) -> Claimed | None:
    """The promise that the order claimed; None where it claimed none."""
    if not order.promise_token:
        return None
    query = select(promises.c.body, promises.c.claimed_at).where(
        promises.c.token == order.promise_token, promises.c.order_id == order.order_id
    )
    row = (await conn.execute(query)).first()
    return Claimed(Promise.model_validate(row.body), row.claimed_at) if row else None


def _other(promise: Promise, order: Order, units: Mapping[str, int]) -> str:
    """What the promise was made for, where that is not the order; empty where it is."""
    if promise.method is not order.method:
        return f"{promise.method}, not {order.method}"
    if dict(units) != promise.units:
        return "other goods: " + ", ".join(f"{n} of {sku}" for sku, n in promise.units.items())
    if promise.method is DeliveryMethod.PICKUP:
        node = promise.packages[0].node
        return "" if order.pickup_node == node else f"a pickup at {node}"
    if promise.destination != destination(order.ship_to):
        return f"another address ({promise.destination})"
    return ""


def _no(code: str, why: str) -> Invalid:
    return Invalid(f"{why}; {_CURE}", code=code)
