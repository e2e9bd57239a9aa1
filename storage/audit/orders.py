"""Orders: none is lost, an ended one holds nothing, money adds up, and every change is told."""

from typing import Final

from storage.audit.check import Check

CHECKS: Final = (
    # --- 4. Never lose an order: its units are somewhere, and it ends or visibly waits
    Check(
        4,
        """
        SELECT o.order_id || ' line ' || (l ->> 'line_id') AS subject,
          format('the buckets sum to %s of %s ordered', b.units, l ->> 'ordered') AS message
        FROM orders AS o CROSS JOIN jsonb_array_elements(o.state -> 'lines') AS l
        CROSS JOIN LATERAL (
          SELECT coalesce(sum(value::int), 0) AS units FROM jsonb_each_text(l -> 'buckets')) AS b
        WHERE b.units <> (l ->> 'ordered')::int
           OR NOT EXISTS (SELECT FROM jsonb_array_elements(o.body -> 'lines') AS line
             WHERE line ->> 'line_id' = coalesce(l -> 'kit' ->> 'line_id', l ->> 'line_id')
               AND (line ->> 'quantity')::int * coalesce((l -> 'kit' ->> 'per_kit')::int, 1)
                 = (l ->> 'ordered')::int)
        """,
    ),
    Check(
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
            FROM reservation_lines AS l JOIN reservations AS r USING (reservation_id)
            WHERE r.order_id IS NOT NULL) AS each
          GROUP BY order_id, line_id)
        SELECT order_id || ' line ' || line_id AS subject,
          format('reserved, allocated, gone are %s, %s, %s by its state and %s, %s, %s by stock',
            coalesce(t.reserved, 0), coalesce(t.allocated, 0), coalesce(t.gone, 0),
            coalesce(h.reserved, 0), coalesce(h.allocated, 0), coalesce(h.gone, 0)) AS message
        FROM told AS t FULL JOIN held AS h USING (order_id, line_id)
        WHERE (coalesce(t.reserved, 0), coalesce(t.allocated, 0), coalesce(t.gone, 0)) <>
          (coalesce(h.reserved, 0), coalesce(h.allocated, 0), coalesce(h.gone, 0))
        """,
    ),
    Check(
        4,
        """
        WITH told AS (
          SELECT o.order_id, l ->> 'line_id' AS line_id, sum(b.value::int) AS units
          FROM orders AS o CROSS JOIN jsonb_array_elements(o.state -> 'lines') AS l
          CROSS JOIN jsonb_each_text(l -> 'buckets') AS b
          WHERE b.key = ANY(:arrived) GROUP BY 1, 2),
        arrived AS (
          SELECT f.order_id, key AS line_id, sum(value::int) AS units
          FROM fulfillments AS f, jsonb_each_text(f.body -> 'delivered') GROUP BY 1, 2)
        SELECT order_id || ' line ' || line_id AS subject,
          format('%s units arrived by its state, %s by its fulfillments', coalesce(t.units, 0),
            coalesce(a.units, 0)) AS message
        FROM told AS t FULL JOIN arrived AS a USING (order_id, line_id)
        WHERE coalesce(t.units, 0) <> coalesce(a.units, 0)
        """,
    ),
    Check(
        4,
        """
        SELECT f.fulfillment_id AS subject,
          format('%s, but %s units of line %s are still allocated to it', f.status, l.quantity,
            l.line_id) AS message
        FROM fulfillments AS f JOIN allocation_lines AS l USING (fulfillment_id)
        WHERE f.status = ANY(:ended) AND l.quantity > 0 AND f.updated_at < now() - :grace
        """,
    ),
    Check(
        4,
        """
        SELECT o.order_id || ' line ' || (l ->> 'line_id') AS subject,
          format('%s, but %s units are %s', o.status, b.value, b.key) AS message
        FROM orders AS o CROSS JOIN jsonb_array_elements(o.state -> 'lines') AS l
        CROSS JOIN jsonb_each_text(l -> 'buckets') AS b
        WHERE o.terminal_at IS NOT NULL AND b.key <> ALL(:settled) AND b.value::int <> 0
        """,
    ),
    Check(
        4,
        """
        SELECT order_id AS subject,
          format('listed as %s, %s; its state is %s', status, coalesce('ended ' || terminal_at,
            'open'), state ->> 'status') AS message
        FROM orders WHERE status IS DISTINCT FROM state ->> 'status'
          OR (terminal_at IS NULL) = (status = ANY(:terminal))
        """,
    ),
    Check(
        4,
        """
        SELECT order_id AS subject,
          format('%s since %s, and nothing says what it waits for', status, updated_at) AS message
        FROM orders
        WHERE terminal_at IS NULL AND status IN ('received', 'sourcing')
          AND attention = '{}' AND state -> 'holds' = '[]' AND updated_at < now() - :grace
        """,
    ),
    Check(
        4,
        """
        SELECT source || ' ' || delivery_id AS subject,
          format('this %s was given up after %s tries: %s', kind, attempts, error) AS message
        FROM inbox WHERE dead_at IS NOT NULL AND done_at IS NULL
        """,
    ),
    Check(
        4,
        """
        SELECT source || ' ' || delivery_id AS subject,
          format('this %s has waited since %s: %s', kind, received_at, error) AS message
        FROM inbox WHERE dead_at IS NULL AND done_at IS NULL AND received_at < now() - :grace
        """,
        "warning",
    ),
    Check(
        4,
        """
        SELECT key AS subject,
          format('this %s was given up after %s tries: %s', kind, attempts, error) AS message
        FROM outbox WHERE dead_at IS NOT NULL AND done_at IS NULL
        """,
    ),
    Check(
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
    Check(
        5,
        """
        SELECT o.order_id AS subject, jsonb_build_object(
            'reservation_id', l.reservation_id, 'line_id', l.line_id) AS key,
          format('%s, but reservation %s still holds %s of %s', o.status, l.reservation_id,
            l.quantity, l.sku) AS message
        FROM orders AS o JOIN reservations AS r USING (order_id)
        JOIN reservation_lines AS l USING (reservation_id)
        WHERE o.terminal_at IS NOT NULL AND l.quantity > 0
        """,
        relation="reservation_lines",
    ),
    Check(
        5,
        """
        SELECT o.order_id AS subject, jsonb_build_object(
            'fulfillment_id', l.fulfillment_id, 'line_id', l.line_id) AS key,
          format('%s, but %s still has %s of %s allocated', o.status, a.fulfillment_id, l.quantity,
            l.sku) AS message
        FROM orders AS o JOIN allocations AS a USING (order_id)
        JOIN allocation_lines AS l USING (fulfillment_id)
        WHERE o.terminal_at IS NOT NULL AND l.quantity > 0
        """,
        relation="allocation_lines",
    ),
    Check(
        5,
        """
        SELECT a.fulfillment_id AS subject,
          jsonb_build_object('fulfillment_id', a.fulfillment_id) AS key,
          format('gave everything back, but keeps its place at %s on %s', a.node, a.capacity_day)
            AS message
        FROM allocations AS a JOIN allocation_lines AS l USING (fulfillment_id)
        WHERE a.capacity_day IS NOT NULL
        GROUP BY a.fulfillment_id, a.node, a.capacity_day HAVING sum(l.quantity + l.shipped) = 0
        """,
        relation="allocations",
    ),
    Check(
        5,
        """
        SELECT f.fulfillment_id AS subject,
          jsonb_build_object('fulfillment_id', f.fulfillment_id) AS key,
          format('its order is %s, but it is %s with request %s', o.status, f.status, f.request)
            AS message
        FROM orders AS o JOIN fulfillments AS f USING (order_id)
        WHERE o.terminal_at IS NOT NULL
          AND (f.status <> ALL(:ended) OR f.request = ANY(:open_requests))
        """,
        relation="fulfillments",
    ),
    # --- 6. Money: parts sum to the whole, to the cent
    Check(
        6,
        """
        WITH priced AS (
          SELECT o.order_id, p ->> 'line_id' AS line_id,
            (p ->> 'unit_price_minor')::numeric AS price, 0 AS odd
          FROM orders AS o, jsonb_array_elements(o.body -> 'lines') AS p
          UNION ALL
          SELECT o.order_id, s ->> 'line_id',
            (s ->> 'goods_minor')::numeric / (s ->> 'ordered')::int, 1
          FROM orders AS o, jsonb_array_elements(o.state -> 'lines') AS s
          WHERE jsonb_typeof(s -> 'kit') = 'object')
        SELECT f.fulfillment_id AS subject,
          format('goods of %s minor units, but its lines are worth %s', f.goods_minor,
            round(worth.minor)) AS message
        FROM fulfillments AS f
        CROSS JOIN LATERAL (
          SELECT sum((l ->> 'quantity')::int * price) AS minor, sum(odd) AS odd
          FROM jsonb_array_elements(f.body -> 'lines') AS l
          JOIN priced AS p ON p.order_id = f.order_id AND p.line_id = l ->> 'line_id') AS worth
        WHERE (abs(f.goods_minor - worth.minor) > worth.odd) IS NOT FALSE
        """,
    ),
    Check(
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
    Check(
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
    # --- 7. What was decided can be read and decided again
    Check(
        7,
        """
        SELECT d.decision_id AS subject,
          format('its piece %s is gone: it can be neither read nor replayed', encode(p, 'hex'))
            AS message
        FROM decisions AS d, unnest(d.pieces) AS p
        WHERE NOT EXISTS (SELECT FROM decision_pieces AS s WHERE s.name = p)
        UNION ALL
        SELECT decision_id, 'is not what was recorded: its digest is another'
        FROM decisions WHERE sha256(own) <> digest
        UNION ALL
        SELECT 'piece ' || encode(name, 'hex'), 'is not what was recorded: its name is another'
        FROM decision_pieces WHERE sha256(body) <> name
        """,
    ),
    # --- 7. Every change names its cause, its actor and its time
    Check(
        7,
        """
        SELECT order_id || ' event ' || id AS subject,
          format('%s does not say who did it and why', coalesce(nullif(type, ''), '?')) AS message
        FROM order_events WHERE type = '' OR actor = '' OR (cause = '' AND summary = '')
        UNION ALL
        SELECT 'movement ' || id, 'does not say who did it and why'
        FROM movements WHERE cause = '' OR actor = ''
        UNION ALL
        SELECT format('%s rule of channel %s, node %s, SKU %s, category %s', kind, channel, node,
          sku, category), 'is not as its log says, so nobody says who made it so'
        FROM (SELECT DISTINCT ON (kind, channel, node, sku, category) * FROM stock_rule_log
          WHERE kind <> 'category' ORDER BY kind, channel, node, sku, category, id DESC) AS l
        FULL JOIN stock_rules AS r USING (kind, channel, node, sku, category)
        WHERE (l.said IS NULL) <> (r.kind IS NULL)
          OR r.kind IS NOT NULL AND l.said <> jsonb_build_object(
            'units', r.units, 'percent', r.percent, 'ship', r.ship, 'pickup', r.pickup)
        UNION ALL
        SELECT order_id, 'has no story' FROM orders AS o
        WHERE NOT EXISTS (SELECT FROM order_events AS e WHERE e.order_id = o.order_id)
        """,
    ),
)
