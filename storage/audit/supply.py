"""What is to come: nobody waits for more than that, and nothing is kept for who does not wait."""

from typing import Final

from storage.audit.check import Check

CHECKS: Final = (
    Check(
        2,
        """
        SELECT s.source || '/' || s.ref AS subject,
          format('%s units are claimed, %s are still to come (%s, %s)', sum(c.units),
            greatest(s.quantity - s.received, 0), s.status, s.confidence) AS message
        FROM supplies AS s JOIN supply_claims AS c USING (source, ref) GROUP BY s.source, s.ref
        HAVING sum(c.units) > s.quantity - s.received OR s.status <> 'open'
          OR s.confidence <> 'firm'
        """,
    ),
    Check(
        5,
        """
        SELECT b.order_id AS subject, format('%s, but it still waits for supply', o.status)
            AS message
        FROM backorders AS b JOIN orders AS o USING (order_id) WHERE o.terminal_at IS NOT NULL
        """,
    ),
    Check(
        5,
        """
        SELECT r.reservation_id AS subject,
          format('keeps %s of %s for an order that does not wait', l.quantity, l.sku) AS message
        FROM reservations AS r JOIN reservation_lines AS l USING (reservation_id)
        WHERE r.order_id IS NULL AND r.state = 'committed' AND l.quantity > 0
          AND NOT EXISTS (SELECT FROM backorders AS b WHERE b.reservation_id = r.reservation_id)
          AND r.reservation_id IN (SELECT key FROM movements WHERE cause LIKE 'kept for %')
        """,
    ),
)
