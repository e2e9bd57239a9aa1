"""Compares our records with the partners' own log, which is read as they wrote it."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from domain.orders import DeliveryMethod
from domain.sourcing.words import count
from domain.values import Value
from storage.audit import Finding
from storage.standing import Share, Standing

AT_WORK: Final = frozenset({"received", "accepted", "partly_shipped", "ready_for_pickup"})
TOMBSTONE: Final = "never_received"


class Request(Value):
    """A fulfillment as its node has it; `times` is how often it was asked for."""

    node: str
    fulfillment_id: str
    order_id: str
    status: str
    times: int
    shipped: dict[str, int]


class ShopOrder(Value):
    """An order as its shop has it; `fulfilled` counts the units by line that have left."""

    shop: str
    number: str
    created_at: datetime
    cancelled: bool
    fulfilled: dict[str, int]


class Log(Value):
    requests: tuple[Request, ...]
    shop_orders: tuple[ShopOrder, ...]


def read(database: Path) -> Log:
    """The partners' log at this moment. Blocks: call it in a thread."""
    with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        db.execute("BEGIN")
        shipped = _sums(
            db,
            "SELECT node || char(0) || fulfillment_id AS of, line_id AS line,"
            " sum(quantity) AS units FROM node_shipments GROUP BY node, fulfillment_id, line_id",
        )
        fulfilled = _sums(
            db,
            "SELECT f.shop || char(0) || f.order_id AS of, l.line_id AS line,"
            " sum(l.quantity) AS units FROM shop_fulfillments AS f"
            " JOIN shop_fulfillment_lines AS l USING (shop, fulfillment_id)"
            " GROUP BY f.shop, f.order_id, l.line_id",
        )
        return Log(
            requests=tuple(
                Request(
                    node=row["node"],
                    fulfillment_id=row["fulfillment_id"],
                    order_id=row["order_id"],
                    status=row["status"],
                    times=row["times_received"],
                    shipped=shipped.get(f"{row['node']}\0{row['fulfillment_id']}", {}),
                )
                for row in db.execute("SELECT * FROM node_requests ORDER BY fulfillment_id, node")
            ),
            shop_orders=tuple(
                ShopOrder(
                    shop=row["shop"],
                    number=str(row["order_id"]),
                    created_at=_instant(row["created_at"]),
                    cancelled=row["cancelled_at"] is not None,
                    fulfilled=fulfilled.get(f"{row['shop']}\0{row['order_id']}", {}),
                )
                for row in db.execute(
                    "SELECT shop, order_id, created_at, cancelled_at FROM shop_orders"
                    " ORDER BY shop, order_id"
                )
            ),
        )


def nodes(
    requests: Sequence[Request], orders: Sequence[Standing], shares: Sequence[Share]
) -> Iterator[Finding]:
    """Where a node's log and our records tell of different goods."""
    by_order = {order.order_id: order for order in orders}
    by_share = {share.fulfillment_id: share for share in shares}
    for request in requests:
        share = by_share.get(request.fulfillment_id)
        if share is None or share.node != request.node:
            if request.status != TOMBSTONE or request.shipped:
                subject = f"{request.fulfillment_id} at {request.node}"
                yield _found(3, subject, "the node was asked for what is not its to fulfill")
            continue
        yield from _same_units(request, share)
        order = by_order[share.order_id]
        if order.terminal and request.status in AT_WORK:
            text = f"its order is {order.status}, but {request.node} has it {request.status}"
            yield _found(5, request.fulfillment_id, text)
    asked = {(request.fulfillment_id, request.node) for request in requests}
    for share in shares:
        if sum(share.shipped.values()) and (share.fulfillment_id, share.node) not in asked:
            text = f"shipped by its record, but {share.node} never heard of it"
            yield _found(3, share.fulfillment_id, text)
    yield from _never_too_many(requests, by_order, by_share)


def lost(log: Sequence[ShopOrder], orders: Sequence[Standing]) -> Iterator[ShopOrder]:
    """The shops' orders that we have no record of. Some of them may have been declined."""
    ours = {_shop_key(order) for order in orders}
    return (order for order in log if (order.shop, order.number) not in ours)


def shops(log: Sequence[ShopOrder], orders: Sequence[Standing]) -> Iterator[Finding]:
    """
    Where a shop believes something else has left than what did.

    Pickups are left out: a shop of Magento's shape counts them as shipped once they are ready.
    """
    theirs = {(order.shop, order.number): order for order in log}
    for order in orders:
        shop = theirs.get(_shop_key(order))
        if shop is None or order.untold or order.method is DeliveryMethod.PICKUP:
            continue
        for line, ordered in order.ordered.items():
            told, gone = shop.fulfilled.get(line, 0), order.gone.get(line, 0)
            if told > gone or (order.terminal and told != gone):
                known = count(told, "unit", "units")
                text = f"the shop knows of {known} shipped; {gone} of {ordered} ordered were"
                yield _found(3, f"{order.order_id} line {line}", text)


def _same_units(request: Request, share: Share) -> Iterator[Finding]:
    """What ended shows what the node shipped; what has not shows no more than that."""
    for line in sorted({*request.shipped, *share.shipped}):
        theirs, ours = request.shipped.get(line, 0), share.shipped.get(line, 0)
        if ours > theirs or (share.ended and ours != theirs):
            said = count(ours, "unit", "units")
            text = f"{said} shipped by its record, {theirs} by {request.node}'s own"
            yield _found(3, f"{share.fulfillment_id} line {line}", text)


def _never_too_many(
    requests: Sequence[Request],
    by_order: Mapping[str, Standing],
    by_share: Mapping[str, Share],
) -> Iterator[Finding]:
    left: Counter[tuple[str, str]] = Counter()
    for request in requests:
        share = by_share.get(request.fulfillment_id)
        order_id = share.order_id if share else request.order_id
        for line, units in request.shipped.items():
            left[order_id, line] += units
    for (order_id, line), units in sorted(left.items()):
        ordered = by_order[order_id].asked.get(line, 0) if order_id in by_order else 0
        if units > ordered:
            text = f"the nodes shipped {count(units, 'unit', 'units')} of {ordered} ordered"
            yield _found(3, f"{order_id} line {line}", text)


def _shop_key(order: Standing) -> tuple[str, str]:
    """The shop's own number is the last part of what its API calls the order."""
    return order.channel, order.channel_ref.rpartition("/")[2]


def _sums(db: sqlite3.Connection, query: str) -> dict[str, dict[str, int]]:
    sums: dict[str, dict[str, int]] = {}
    for row in db.execute(query):
        sums.setdefault(row["of"], {})[str(row["line"])] = row["units"]
    return sums


def _found(invariant: int, subject: str, message: str) -> Finding:
    return Finding(invariant=invariant, subject=subject, message=message)


def _instant(written: str) -> datetime:
    """Magento writes UTC without saying so."""
    at = datetime.fromisoformat(written)
    return at if at.tzinfo else at.replace(tzinfo=UTC)
