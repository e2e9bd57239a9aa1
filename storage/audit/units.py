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
          FROM movements WHERE node IS NOT NULL
            AND (CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus)) GROUP BY sku, node),
        s AS (SELECT * FROM stock WHERE CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus))
        SELECT coalesce(s.sku, t.sku) || ' at ' || coalesce(s.node, t.node) AS subject,
          jsonb_build_object('sku', coalesce(s.sku, t.sku), 'node', coalesce(s.node, t.node))
            AS key,
          format('on hand %s and allocated %s, but the movements sum to %s and %s',
            s.on_hand, s.allocated, t.on_hand, t.allocated) AS message
        FROM s FULL JOIN told AS t ON t.sku = s.sku AND t.node = s.node
        WHERE coalesce(s.on_hand, 0) <> coalesce(t.on_hand, 0)
           OR coalesce(s.allocated, 0) <> coalesce(t.allocated, 0)
        """,
        relation="stock",
        by_sku=True,
    ),
    Check(
        1,
        """
        WITH promised AS (
          SELECT l.sku, sum(l.quantity) AS units FROM reservation_lines AS l
          JOIN reservations AS r USING (reservation_id)
          WHERE r.node IS NULL AND l.quantity > 0
            AND (CAST(:skus AS text[]) IS NULL OR l.sku = ANY(:skus)) GROUP BY l.sku),
        told AS (
          SELECT sku, sum(reserved_delta) AS units FROM movements
          WHERE node IS NULL AND (CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus)) GROUP BY sku)
        SELECT coalesce(p.sku, t.sku) AS subject,
          jsonb_build_object('sku', coalesce(p.sku, t.sku)) AS key,
          format('%s units are reserved, but the movements sum to %s',
            coalesce(p.units, 0), coalesce(t.units, 0)) AS message
        FROM promised AS p FULL JOIN told AS t ON t.sku = p.sku
        WHERE coalesce(p.units, 0) <> coalesce(t.units, 0)
        """,
        relation="pool",
        by_sku=True,
    ),
    Check(
        1,
        """
        WITH held AS (
          SELECT sku, node, sum(units) AS units FROM (
            SELECT l.sku, a.node, l.quantity AS units FROM allocation_lines AS l
            JOIN allocations AS a USING (fulfillment_id) WHERE l.quantity > 0
            UNION ALL
            SELECT l.sku, r.node, l.quantity FROM reservation_lines AS l
            JOIN reservations AS r USING (reservation_id)
            WHERE r.node IS NOT NULL AND l.quantity > 0) AS each
          WHERE CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus) GROUP BY sku, node),
        s AS (SELECT * FROM stock WHERE CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus))
        SELECT coalesce(s.sku, h.sku) || ' at ' || coalesce(s.node, h.node) AS subject,
          jsonb_build_object('sku', coalesce(s.sku, h.sku), 'node', coalesce(s.node, h.node))
            AS key,
          format('allocated %s, but fulfillments and pickups hold %s',
            coalesce(s.allocated, 0), coalesce(h.units, 0)) AS message
        FROM s FULL JOIN held AS h ON h.sku = s.sku AND h.node = s.node
        WHERE coalesce(s.allocated, 0) <> coalesce(h.units, 0)
        """,
        relation="stock",
        by_sku=True,
    ),
    Check(
        1,
        """
        WITH free AS (
          SELECT s.sku, sum(s.on_hand - s.allocated) AS units FROM stock AS s
          JOIN nodes AS n ON n.code = s.node WHERE n.status = 'online'
            AND (CAST(:skus AS text[]) IS NULL OR s.sku = ANY(:skus)) GROUP BY s.sku),
        promised AS (
          SELECT l.sku, sum(l.quantity) AS units FROM reservation_lines AS l
          JOIN reservations AS r USING (reservation_id)
          WHERE r.node IS NULL AND l.quantity > 0
            AND (CAST(:skus AS text[]) IS NULL OR l.sku = ANY(:skus)) GROUP BY l.sku),
        p AS (SELECT * FROM pool WHERE CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus)),
        kept AS (
          SELECT DISTINCT sku FROM stock
          WHERE CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus))
        SELECT sku AS subject, jsonb_build_object('sku', sku) AS key,
          format('available is %s, but %s are free online and %s reserved',
            coalesce(p.available, 0), coalesce(f.units, 0), coalesce(r.units, 0)) AS message
        FROM p FULL JOIN free AS f USING (sku) FULL JOIN promised AS r USING (sku)
        FULL JOIN kept AS k USING (sku)
        WHERE coalesce(p.available, 0) <> coalesce(f.units, 0) - coalesce(r.units, 0)
           OR p.available IS NULL
        """,
        relation="pool",
        by_sku=True,
    ),
    Check(
        1,
        """
        SELECT coalesce(sku, '?') || ' at ' || node AS subject, jsonb_build_object('id', id) AS key,
          format('movement %s went from %s and %s to %s and %s by %s and %s, after %s and %s', id,
            on_hand_before, allocated_before, on_hand_after, allocated_after, on_hand_delta,
            allocated_delta, on_hand_was, allocated_was) AS message
        FROM (SELECT *, lag(on_hand_after, 1, 0) OVER w AS on_hand_was,
            lag(allocated_after, 1, 0) OVER w AS allocated_was
          FROM movements WHERE node IS NOT NULL
            AND (CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus))
          WINDOW w AS (PARTITION BY sku, node ORDER BY id)) AS each
        WHERE (on_hand_before, allocated_before) IS DISTINCT FROM (on_hand_was, allocated_was)
           OR (on_hand_after, allocated_after) IS DISTINCT FROM
              (on_hand_before + on_hand_delta, allocated_before + allocated_delta)
        """,
        relation="movements",
        by_sku=True,
    ),
    Check(
        1,
        """
        SELECT 'movement ' || id AS subject, jsonb_build_object('id', id) AS key,
          'moves units of a node and promises of the network at once' AS message
        FROM movements WHERE (CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus)) AND CASE
          WHEN node IS NULL THEN (on_hand_delta, allocated_delta) <> (0, 0)
            OR num_nonnulls(on_hand_before, on_hand_after, allocated_before, allocated_after) > 0
          ELSE reserved_delta <> 0 END
        """,
        relation="movements",
        by_sku=True,
    ),
    Check(
        1,
        """
        WITH told AS (
          SELECT sku, node, sum(on_hand_delta) AS short FROM movements
          WHERE stated_by = 'shortage'
            AND (CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus)) GROUP BY sku, node),
        seen AS (
          SELECT sku, node, short FROM stock_exceptions WHERE cleared_at IS NULL
            AND (CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus))),
        s AS (SELECT * FROM stock WHERE CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus))
        SELECT sku || ' at ' || node AS subject,
          jsonb_build_object('sku', sku, 'node', node) AS key,
          format('short of %s units, of %s by its movements and of %s by its exception',
            coalesce(s.short, 0), coalesce(t.short, 0), coalesce(e.short, 0)) AS message
        FROM s FULL JOIN told AS t USING (sku, node) FULL JOIN seen AS e USING (sku, node)
        WHERE coalesce(s.short, 0) <> coalesce(t.short, 0)
           OR coalesce(s.short, 0) <> coalesce(e.short, 0)
        """,
        relation="stock",
        by_sku=True,
    ),
    Check(
        1,
        """
        SELECT s.sku || ' at ' || s.node AS subject,
          jsonb_build_object('sku', s.sku, 'node', s.node) AS key,
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
        WHERE (s.on_hand - s.short <> p.on_hand + d.units + m.units OR s.counted_at <> p.at)
          AND (CAST(:skus AS text[]) IS NULL OR s.sku = ANY(:skus))
        """,
        relation="stock",
        by_sku=True,
    ),
    # --- 2. Never oversell: the constraints hold, even where someone dropped them
    Check(
        2,
        """
        SELECT sku || ' at ' || node AS subject,
          jsonb_build_object('sku', sku, 'node', node) AS key,
          format('%s allocated of %s on hand', allocated, on_hand) AS message
        FROM stock WHERE (allocated < 0 OR allocated > on_hand)
          AND (CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus))
        """,
        relation="stock",
        by_sku=True,
    ),
    Check(
        2,
        """
        SELECT sku || ' at ' || node AS subject, jsonb_build_object('id', id) AS key,
          format('movement %s allocated more than was there', id) AS message
        FROM (SELECT id, sku, node, allocated_delta,
            sum(on_hand_delta - allocated_delta) OVER (PARTITION BY sku, node ORDER BY id) AS free
          FROM movements WHERE node IS NOT NULL
            AND (CAST(:skus AS text[]) IS NULL OR sku = ANY(:skus))) AS each
        WHERE allocated_delta > 0 AND free < 0
        """,
        relation="movements",
        by_sku=True,
    ),
    Check(
        2,
        """
        WITH held AS (
          SELECT a.node, a.capacity_day AS day, count(DISTINCT fulfillment_id) AS places,
            sum(l.quantity + l.shipped) AS units
          FROM allocations AS a JOIN allocation_lines AS l USING (fulfillment_id)
          WHERE a.capacity_day IS NOT NULL GROUP BY a.node, a.capacity_day)
        SELECT format('%s on %s', node, day) AS subject,
          jsonb_build_object('node', node, 'day', day) AS key,
          format('%s fulfillments of %s units taken on where %s of %s hold a place, of %s and %s',
            coalesce(c.used, 0), coalesce(c.units, 0), coalesce(h.places, 0), coalesce(h.units, 0),
            coalesce(c.capacity::text, 'any number'), coalesce(c.units_capacity::text, 'any'))
            AS message
        FROM node_capacity AS c FULL JOIN held AS h USING (node, day)
        WHERE coalesce(c.used, 0) <> coalesce(h.places, 0) OR c.used > c.capacity
          OR coalesce(c.units, 0) <> coalesce(h.units, 0) OR c.units > c.units_capacity
        """,
        relation="node_capacity",
    ),
    Check(
        2,
        """
        SELECT held.id AS subject, relation, key,
          format('counts for channel %s, but its order is of %s', held.channel, o.channel)
            AS message
        FROM (SELECT 'reservations' AS relation, reservation_id AS id, order_id, channel,
            jsonb_build_object('reservation_id', reservation_id) AS key FROM reservations
          UNION ALL SELECT 'allocations', fulfillment_id, order_id, channel,
            jsonb_build_object('fulfillment_id', fulfillment_id) FROM allocations) AS held
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
