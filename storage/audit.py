"""The invariants that our own tables can prove or refute, each as a query for what breaks it."""

from datetime import timedelta
from enum import StrEnum
from typing import Final, Literal, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.fulfillments import ENDED, FulfillmentStatus, RequestStatus
from domain.orders import GONE, Bucket
from domain.values import Value

Severity = Literal["error", "warning"]


class Finding(Value):
    """What breaks which invariant. A warning may still mend itself: a delivery is late."""

    invariant: int
    subject: str
    message: str
    severity: Severity = "error"


class _Check(NamedTuple):
    """`query` answers `subject` and `message` for each breach."""

    invariant: int
    query: str
    severity: Severity = "error"


def _values(*words: StrEnum) -> list[str]:
    return [word.value for word in words]


_WORDS: Final = {
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
    "at_node": _values(Bucket.ALLOCATED, Bucket.RELEASED, Bucket.READY_FOR_PICKUP),
}


async def audit(
    conn: AsyncConnection, *, grace: timedelta = timedelta(minutes=10)
) -> tuple[Finding, ...]:
    """
    Every breach of an invariant. Each check sees one moment, also while orders are under way.

    What has waited for less than `grace` is not late yet.
    """
    findings: list[Finding] = []
    for check in _CHECKS:
        rows = await conn.execute(text(check.query), {**_WORDS, "grace": grace})
        findings += [
            Finding(
                invariant=check.invariant,
                subject=row.subject,
                message=row.message,
                severity=check.severity,
            )
            for row in rows
        ]
    return tuple(findings)


_CHECKS: Final = (
    # --- 1. Units: stock, reservations and allocations are the sums of their movements
    _Check(
        1,
        """
        WITH told AS (
          SELECT sku, node, sum(on_hand_delta) AS on_hand, sum(allocated_delta) AS allocated
          FROM movements WHERE node IS NOT NULL GROUP BY sku, node)
        SELECT coalesce(s.sku, t.sku) || ' at ' || coalesce(s.node, t.node) AS subject,
          format('on hand %s and allocated %s, but the movements sum to %s and %s',
            s.on_hand, s.allocated, t.on_hand, t.allocated) AS message
        FROM stock AS s FULL JOIN told AS t ON t.sku = s.sku AND t.node = s.node
        WHERE coalesce(s.on_hand, 0) <> coalesce(t.on_hand, 0)
           OR coalesce(s.allocated, 0) <> coalesce(t.allocated, 0)
        """,
    ),
    _Check(
        1,
        """
        WITH promised AS (
          SELECT l.sku, sum(l.quantity) AS units FROM reservation_lines AS l
          JOIN reservations AS r USING (reservation_id) WHERE r.node IS NULL GROUP BY l.sku),
        told AS (
          SELECT sku, sum(reserved_delta) AS units FROM movements WHERE node IS NULL GROUP BY sku)
        SELECT coalesce(p.sku, t.sku) AS subject,
          format('%s units are reserved, but the movements sum to %s',
            coalesce(p.units, 0), coalesce(t.units, 0)) AS message
        FROM promised AS p FULL JOIN told AS t ON t.sku = p.sku
        WHERE coalesce(p.units, 0) <> coalesce(t.units, 0)
        """,
    ),
    _Check(
        1,
        """
        WITH held AS (
          SELECT sku, node, sum(units) AS units FROM (
            SELECT l.sku, a.node, l.quantity AS units FROM allocation_lines AS l
            JOIN allocations AS a USING (fulfillment_id)
            UNION ALL
            SELECT l.sku, r.node, l.quantity FROM reservation_lines AS l
            JOIN reservations AS r USING (reservation_id) WHERE r.node IS NOT NULL) AS each
          GROUP BY sku, node)
        SELECT coalesce(s.sku, h.sku) || ' at ' || coalesce(s.node, h.node) AS subject,
          format('allocated %s, but fulfillments and pickups hold %s',
            coalesce(s.allocated, 0), coalesce(h.units, 0)) AS message
        FROM stock AS s FULL JOIN held AS h ON h.sku = s.sku AND h.node = s.node
        WHERE coalesce(s.allocated, 0) <> coalesce(h.units, 0)
        """,
    ),
    _Check(
        1,
        """
        WITH free AS (
          SELECT s.sku, sum(s.on_hand - s.allocated) AS units FROM stock AS s
          JOIN nodes AS n ON n.code = s.node WHERE n.status = 'online' GROUP BY s.sku),
        promised AS (
          SELECT l.sku, sum(l.quantity) AS units FROM reservation_lines AS l
          JOIN reservations AS r USING (reservation_id) WHERE r.node IS NULL GROUP BY l.sku)
        SELECT sku AS subject, format('available is %s, but %s are free online and %s reserved',
            coalesce(p.available, 0), coalesce(f.units, 0), coalesce(r.units, 0)) AS message
        FROM pool AS p FULL JOIN free AS f USING (sku) FULL JOIN promised AS r USING (sku)
        WHERE coalesce(p.available, 0) <> coalesce(f.units, 0) - coalesce(r.units, 0)
        """,
    ),
    _Check(
        1,
        """
        SELECT coalesce(sku, '?') || ' at ' || node AS subject,
          format('movement %s went from %s and %s to %s and %s by %s and %s, after %s and %s', id,
            on_hand_before, allocated_before, on_hand_after, allocated_after, on_hand_delta,
            allocated_delta, on_hand_was, allocated_was) AS message
        FROM (SELECT *, lag(on_hand_after, 1, 0) OVER w AS on_hand_was,
            lag(allocated_after, 1, 0) OVER w AS allocated_was
          FROM movements WHERE node IS NOT NULL
          WINDOW w AS (PARTITION BY sku, node ORDER BY id)) AS each
        WHERE (on_hand_before, allocated_before) IS DISTINCT FROM (on_hand_was, allocated_was)
           OR (on_hand_after, allocated_after) IS DISTINCT FROM
              (on_hand_before + on_hand_delta, allocated_before + allocated_delta)
        """,
    ),
    _Check(
        1,
        """
        WITH told AS (
          SELECT sku, node, sum(on_hand_delta) AS short FROM movements
          WHERE stated_by = 'shortage' GROUP BY sku, node),
        seen AS (SELECT sku, node, short FROM stock_exceptions WHERE cleared_at IS NULL)
        SELECT sku || ' at ' || node AS subject,
          format('short of %s units, of %s by its movements and of %s by its exception',
            coalesce(s.short, 0), coalesce(t.short, 0), coalesce(e.short, 0)) AS message
        FROM stock AS s FULL JOIN told AS t USING (sku, node) FULL JOIN seen AS e USING (sku, node)
        WHERE coalesce(s.short, 0) <> coalesce(t.short, 0)
           OR coalesce(s.short, 0) <> coalesce(e.short, 0)
        """,
    ),
    _Check(
        1,
        """
        SELECT s.sku || ' at ' || s.node AS subject,
          format('%s are there, but %s by what %s counted and what moved since',
            s.on_hand - s.short, p.on_hand + d.units + m.units, p.source) AS message
        FROM stock AS s
        JOIN feed_positions AS p
          ON p.sku = s.sku AND p.node = s.node AND s.counted_by = 'feed:' || p.source
        CROSS JOIN LATERAL (
          SELECT coalesce(sum(change), 0) AS units FROM feed_deltas AS d
          WHERE d.sku = s.sku AND d.node = s.node AND CASE WHEN d.source = p.source
            THEN d.sequence > p.sequence ELSE d.at > p.at END) AS d
        CROSS JOIN LATERAL (
          SELECT coalesce(sum(on_hand_delta), 0) AS units FROM movements AS m
          WHERE m.sku = s.sku AND m.node = s.node AND m.at > p.at
            AND m.stated_by IS NULL AND m.on_hand_delta <> 0) AS m
        WHERE s.on_hand - s.short <> p.on_hand + d.units + m.units OR s.counted_at <> p.at
        """,
    ),
    # --- 2. Never oversell: the constraints hold, even where someone dropped them
    _Check(
        2,
        """
        SELECT sku || ' at ' || node AS subject,
          format('%s allocated of %s on hand', allocated, on_hand) AS message
        FROM stock WHERE allocated < 0 OR allocated > on_hand
        """,
    ),
    _Check(
        2,
        """
        SELECT sku || ' at ' || node AS subject,
          format('movement %s allocated more than was there', id) AS message
        FROM (SELECT id, sku, node, allocated_delta,
            sum(on_hand_delta - allocated_delta) OVER (PARTITION BY sku, node ORDER BY id) AS free
          FROM movements WHERE node IS NOT NULL) AS each
        WHERE allocated_delta > 0 AND free < 0
        """,
    ),
    _Check(
        2,
        """
        SELECT c.node || ' on ' || c.day AS subject,
          format('%s fulfillments taken on where %s hold a place, of %s', c.used,
            count(a.fulfillment_id), coalesce(c.capacity::text, 'any number')) AS message
        FROM node_capacity AS c
        LEFT JOIN allocations AS a ON a.node = c.node AND a.capacity_day = c.day
        GROUP BY c.node, c.day
        HAVING c.used <> count(a.fulfillment_id) OR c.used > c.capacity
        """,
    ),
    # --- 3. Never ship twice: no unit of a line is in two places
    _Check(
        3,
        """
        WITH ordered AS (
          SELECT o.order_id, l ->> 'line_id' AS line_id, (l ->> 'quantity')::int AS units
          FROM orders AS o, jsonb_array_elements(o.body -> 'lines') AS l),
        held AS (
          SELECT order_id, line_id, sum(units) AS units FROM (
            SELECT a.order_id, l.line_id, l.quantity + l.shipped AS units FROM allocation_lines AS l
            JOIN allocations AS a USING (fulfillment_id)
            UNION ALL
            SELECT r.order_id, l.line_id, l.quantity FROM reservation_lines AS l
            JOIN reservations AS r USING (reservation_id)) AS each
          GROUP BY order_id, line_id)
        SELECT order_id || ' line ' || line_id AS subject,
          format('%s units are reserved, allocated or shipped, of %s ordered', h.units, o.units)
            AS message
        FROM ordered AS o JOIN held AS h USING (order_id, line_id) WHERE h.units > o.units
        """,
    ),
    _Check(
        3,
        """
        WITH told AS (
          SELECT f.fulfillment_id, key AS line_id, value::int AS units
          FROM fulfillments AS f, jsonb_each_text(f.body -> 'shipped')),
        gone AS (SELECT fulfillment_id, line_id, shipped AS units FROM allocation_lines
          WHERE shipped > 0)
        SELECT fulfillment_id || ' line ' || line_id AS subject,
          format('%s units shipped by its record, %s by stock', coalesce(t.units, 0),
            coalesce(g.units, 0)) AS message
        FROM told AS t FULL JOIN gone AS g USING (fulfillment_id, line_id)
        WHERE coalesce(t.units, 0) <> coalesce(g.units, 0)
        """,
    ),
    _Check(
        3,
        """
        SELECT f.fulfillment_id || ' line ' || coalesce(a.line_id, '?') AS subject,
          format('asked of the node are %s units, allocated were %s',
            coalesce(l ->> 'quantity', 'no'), coalesce(a.was::text, 'none')) AS message
        FROM fulfillments AS f CROSS JOIN jsonb_array_elements(f.body -> 'lines') AS l
        LEFT JOIN (SELECT fulfillment_id, line_id, quantity + shipped + returned AS was
          FROM allocation_lines) AS a
          ON a.fulfillment_id = f.fulfillment_id AND a.line_id = l ->> 'line_id'
        WHERE a.was IS DISTINCT FROM (l ->> 'quantity')::int
        """,
    ),
    # --- 4. Never lose an order: its units are somewhere, and it ends or visibly waits
    _Check(
        4,
        """
        SELECT o.order_id || ' line ' || (l ->> 'line_id') AS subject,
          format('the buckets sum to %s of %s ordered', b.units, l ->> 'ordered') AS message
        FROM orders AS o CROSS JOIN jsonb_array_elements(o.state -> 'lines') AS l
        CROSS JOIN LATERAL (
          SELECT coalesce(sum(value::int), 0) AS units FROM jsonb_each_text(l -> 'buckets')) AS b
        WHERE b.units <> (l ->> 'ordered')::int
           OR NOT EXISTS (SELECT FROM jsonb_array_elements(o.body -> 'lines') AS line
             WHERE line ->> 'line_id' = l ->> 'line_id' AND line -> 'quantity' = l -> 'ordered')
        """,
    ),
    _Check(
        4,
        """
        WITH told AS (
          SELECT o.order_id, l ->> 'line_id' AS line_id,
            coalesce(sum(b.value::int) FILTER (WHERE b.key = ANY(:reserved)), 0) AS reserved,
            coalesce(sum(b.value::int) FILTER (WHERE b.key = ANY(:at_node)), 0) AS allocated,
            coalesce(sum(b.value::int) FILTER (WHERE b.key = ANY(:gone)), 0) AS gone
          FROM orders AS o CROSS JOIN jsonb_array_elements(o.state -> 'lines') AS l
          CROSS JOIN jsonb_each_text(l -> 'buckets') AS b GROUP BY 1, 2),
        held AS (
          SELECT order_id, line_id, sum(reserved) AS reserved, sum(allocated) AS allocated,
            sum(gone) AS gone FROM (
            SELECT a.order_id, l.line_id, 0 AS reserved, l.quantity AS allocated, l.shipped AS gone
            FROM allocation_lines AS l JOIN allocations AS a USING (fulfillment_id)
            UNION ALL
            SELECT r.order_id, l.line_id, l.quantity, 0, 0
            FROM reservation_lines AS l JOIN reservations AS r USING (reservation_id)) AS each
          GROUP BY order_id, line_id)
        SELECT order_id || ' line ' || line_id AS subject,
          format('reserved, allocated, gone are %s, %s, %s by its state and %s, %s, %s by stock',
            t.reserved, t.allocated, t.gone, coalesce(h.reserved, 0), coalesce(h.allocated, 0),
            coalesce(h.gone, 0)) AS message
        FROM told AS t LEFT JOIN held AS h USING (order_id, line_id)
        WHERE (t.reserved, t.allocated, t.gone) IS DISTINCT FROM
          (coalesce(h.reserved, 0), coalesce(h.allocated, 0), coalesce(h.gone, 0))
        """,
    ),
    _Check(
        4,
        """
        SELECT order_id AS subject,
          format('%s since %s, and nothing says what it waits for', status, updated_at) AS message
        FROM orders
        WHERE terminal_at IS NULL AND status IN ('received', 'sourcing')
          AND attention = '{}' AND state -> 'holds' = '[]' AND updated_at < now() - :grace
        """,
    ),
    _Check(
        4,
        """
        SELECT source || ' ' || delivery_id AS subject,
          format('this %s was given up after %s tries: %s', kind, attempts, error) AS message
        FROM inbox WHERE dead_at IS NOT NULL AND done_at IS NULL
        """,
    ),
    _Check(
        4,
        """
        SELECT source || ' ' || delivery_id AS subject,
          format('this %s has waited since %s: %s', kind, received_at, error) AS message
        FROM inbox WHERE dead_at IS NULL AND done_at IS NULL AND received_at < now() - :grace
        """,
        "warning",
    ),
    _Check(
        4,
        """
        SELECT key AS subject,
          format('this %s was given up after %s tries: %s', kind, attempts, error) AS message
        FROM outbox WHERE dead_at IS NOT NULL AND done_at IS NULL
        """,
    ),
    _Check(
        4,
        """
        SELECT m.key AS subject,
          format('this %s has not left since %s: %s', m.kind, m.created_at, m.error) AS message
        FROM outbox AS m JOIN orders AS o USING (order_id)
        WHERE m.dead_at IS NULL AND m.done_at IS NULL
          AND greatest(m.created_at, o.terminal_at) < now() - :grace
        """,
        "warning",
    ),
    # --- 5. A terminal order holds nothing
    _Check(
        5,
        """
        SELECT o.order_id AS subject,
          format('%s, but reservation %s still holds %s of %s', o.status, l.reservation_id,
            l.quantity, l.sku) AS message
        FROM orders AS o JOIN reservations AS r USING (order_id)
        JOIN reservation_lines AS l USING (reservation_id)
        WHERE o.terminal_at IS NOT NULL AND l.quantity > 0
        """,
    ),
    _Check(
        5,
        """
        SELECT o.order_id AS subject,
          format('%s, but %s still has %s of %s allocated', o.status, a.fulfillment_id, l.quantity,
            l.sku) AS message
        FROM orders AS o JOIN allocations AS a USING (order_id)
        JOIN allocation_lines AS l USING (fulfillment_id)
        WHERE o.terminal_at IS NOT NULL AND l.quantity > 0
        """,
    ),
    _Check(
        5,
        """
        SELECT a.fulfillment_id AS subject,
          format('gave everything back, but keeps its place at %s on %s', a.node, a.capacity_day)
            AS message
        FROM allocations AS a JOIN allocation_lines AS l USING (fulfillment_id)
        WHERE a.capacity_day IS NOT NULL
        GROUP BY a.fulfillment_id, a.node, a.capacity_day HAVING sum(l.quantity + l.shipped) = 0
        """,
    ),
    _Check(
        5,
        """
        SELECT f.fulfillment_id AS subject,
          format('its order is %s, but it is %s with request %s', o.status, f.status, f.request)
            AS message
        FROM orders AS o JOIN fulfillments AS f USING (order_id)
        WHERE o.terminal_at IS NOT NULL
          AND (f.status <> ALL(:ended) OR f.request = ANY(:open_requests))
        """,
    ),
    # --- 6. Money: parts sum to the whole, to the cent
    _Check(
        6,
        """
        SELECT f.fulfillment_id AS subject,
          format('goods of %s minor units, but its lines are worth %s', f.goods_minor, worth.minor)
            AS message
        FROM fulfillments AS f JOIN orders AS o USING (order_id)
        CROSS JOIN LATERAL (
          SELECT sum((l ->> 'quantity')::bigint * (p ->> 'unit_price_minor')::bigint) AS minor
          FROM jsonb_array_elements(f.body -> 'lines') AS l
          JOIN jsonb_array_elements(o.body -> 'lines') AS p ON p -> 'line_id' = l -> 'line_id')
          AS worth
        WHERE f.goods_minor IS DISTINCT FROM worth.minor
        """,
    ),
    _Check(
        6,
        """
        WITH share AS (
          SELECT order_id, sum(goods_minor) AS minor FROM fulfillments GROUP BY order_id
          HAVING bool_and(status <> ALL(:short))),
        whole AS (
          SELECT order_id, sum((p ->> 'quantity')::bigint * (p ->> 'unit_price_minor')::bigint)
            AS minor
          FROM orders, jsonb_array_elements(body -> 'lines') AS p GROUP BY order_id)
        SELECT order_id AS subject,
          format('goods of %s minor units at nodes, of %s ordered', share.minor, whole.minor)
            AS message
        FROM share JOIN whole USING (order_id) WHERE share.minor > whole.minor
        """,
    ),
    _Check(
        6,
        """
        WITH part AS (
          SELECT d.order_id, d.decision_id, a ->> 'node' AS node, a ->> 'service' AS service,
            (SELECT sum(value::bigint) FROM jsonb_each_text(a -> 'cost')) AS minor
          FROM decisions AS d, jsonb_array_elements(d.body -> 'plan' -> 'assignments') AS a)
        SELECT d.decision_id AS subject,
          format('cost %s minor units, but its parts sum to %s and its packages to %s',
            d.cost_minor, whole.minor, coalesce(packages.minor, 0)) AS message
        FROM decisions AS d
        CROSS JOIN LATERAL (SELECT sum(value::bigint) AS minor
          FROM jsonb_each_text(d.body -> 'plan' -> 'cost')) AS whole
        LEFT JOIN (SELECT decision_id, sum(minor) AS minor FROM part GROUP BY decision_id)
          AS packages USING (decision_id)
        WHERE d.cost_minor <> whole.minor OR d.cost_minor <> coalesce(packages.minor, 0)
        UNION ALL
        SELECT f.fulfillment_id, format('cost %s minor units, as no decision had it', f.cost_minor)
        FROM fulfillments AS f WHERE NOT EXISTS (
          SELECT FROM part WHERE part.order_id = f.order_id AND part.node = f.node
            AND part.service = f.service AND part.minor = f.cost_minor)
        """,
    ),
    # --- 7. Every change names its cause, its actor and its time
    _Check(
        7,
        """
        SELECT order_id || ' event ' || id AS subject,
          format('%s does not say who did it and why', coalesce(nullif(type, ''), '?')) AS message
        FROM order_events WHERE type = '' OR actor = '' OR (cause = '' AND summary = '')
        UNION ALL
        SELECT 'movement ' || id, 'does not say who did it and why'
        FROM movements WHERE cause = '' OR actor = ''
        UNION ALL
        SELECT order_id, 'has no story' FROM orders AS o
        WHERE NOT EXISTS (SELECT FROM order_events AS e WHERE e.order_id = o.order_id)
        """,
    ),
)
