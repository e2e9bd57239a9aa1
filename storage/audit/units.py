"""Units: they add up, there are as many as are promised, and none is in two places."""

from typing import Final

from storage.audit.check import Check

CHECKS: Final = (
    # --- 1. Units: stock, reservations and allocations are the sums of their movements
    Check(
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
    Check(
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
    Check(
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
    Check(
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
    Check(
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
    Check(
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
    Check(
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
    Check(
        2,
        """
        SELECT sku || ' at ' || node AS subject,
          format('%s allocated of %s on hand', allocated, on_hand) AS message
        FROM stock WHERE allocated < 0 OR allocated > on_hand
        """,
    ),
    Check(
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
    Check(
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
    Check(
        2,
        """
        SELECT held.id AS subject,
          format('counts for channel %s, but its order is of %s', held.channel, o.channel)
            AS message
        FROM (SELECT reservation_id AS id, order_id, channel FROM reservations
          UNION ALL SELECT fulfillment_id, order_id, channel FROM allocations) AS held
        JOIN orders AS o USING (order_id) WHERE held.channel NOT IN ('', o.channel)
        """,
    ),
    # --- 3. Never ship twice: no unit of a line is in two places
    Check(
        3,
        """
        WITH ordered AS (
          SELECT o.order_id, l ->> 'line_id' AS line_id, (l ->> 'ordered')::int AS units
          FROM orders AS o, jsonb_array_elements(o.state -> 'lines') AS l),
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
    Check(
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
    Check(
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
)
