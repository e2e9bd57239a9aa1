"""
Reservations end in more ways, may expire, and are made many at a time by one statement.

Revision 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Whether something may be held back of these SKUs from these channels, so that the pool does not
# say what they may have. It says yes too often rather than too seldom. What takes nothing off: the
# thresholds and caps of other channels, a node that is shown. The categories are read only where
# there is a rule for one. Volatile, so that it sees what was committed until now.
_HELD_BACK = """
CREATE FUNCTION held_back(skus text[], channels text[]) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  RETURN EXISTS (
    SELECT FROM stock_rules AS r
    WHERE (r.sku = ANY (skus) OR r.sku = '') AND kind <> 'few_left' AND ship IS NOT TRUE
      AND (kind NOT IN ('threshold', 'cap') OR channel = '' OR channel = ANY (channels))
      AND (category = '' OR category IN
        (SELECT body ->> 'category' FROM products WHERE sku = ANY (skus))))
  OR EXISTS (SELECT FROM nodes WHERE NOT (body ->> 'ships')::boolean) AND EXISTS (
    SELECT FROM stock WHERE sku = ANY (skus) AND on_hand > allocated
      AND node IN (SELECT code FROM nodes WHERE NOT (body ->> 'ships')::boolean));
END
$$
"""

# Takes units for many reservations, all of them or none: CD001 where a SKU has not enough, a unique
# violation where a reservation was made before. `units` are to be taken of the pool's `skus`, and
# `place_units` to be allocated at nodes (`place_*`); then come the reservations, then their lines,
# each with what its movement tells. Arrays that are shorter than their neighbours end in nulls.
# What was `guessed` is not taken below zero, nor where something is held back, CD002: the pool's
# rows are locked by then, and what is asked sees whatever was committed before that. Where there
# are no rules at all it costs next to nothing. What was not guessed was judged by
# `domain.availability` under the same locks. One plan for all, as for few rows: by index, and not
# made again for every call. What a movement tells of its shelf before and after follows, back from
# the last, from the shelf as it is now; without shelves it is a third of the time not to ask.
_RESERVE_UNITS = """
CREATE FUNCTION reserve_units(
  guessed boolean,
  skus text[], units integer[],
  place_skus text[], place_nodes text[], place_units integer[],
  ids text[], order_ids text[], nodes text[], channels text[], ttls integer[],
  line_of text[], line_ids text[], line_skus text[], quantities integer[], missing integer[],
  line_orders text[], line_nodes text[], actors text[]
) RETURNS void LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
  enough integer;
BEGIN
  IF cardinality(skus) > 1 THEN
    PERFORM FROM pool WHERE sku = ANY (skus) ORDER BY sku FOR UPDATE;
  END IF;
  UPDATE pool SET available = available - t.units
  FROM unnest(skus, reserve_units.units) AS t (sku, units)
  WHERE pool.sku = t.sku AND (available >= t.units OR NOT guessed);
  GET DIAGNOSTICS enough = ROW_COUNT;
  IF enough < cardinality(skus) THEN
    RAISE EXCEPTION 'not enough units' USING ERRCODE = 'CD001';
  END IF;
  IF guessed AND (
    EXISTS (SELECT FROM stock_rules)
    OR EXISTS (SELECT FROM nodes WHERE NOT (body ->> 'ships')::boolean)
  ) AND held_back(skus, channels) THEN
    RAISE EXCEPTION 'something is held back' USING ERRCODE = 'CD002';
  END IF;
  IF cardinality(place_skus) > 0 THEN
    UPDATE stock SET allocated = allocated + t.units
    FROM unnest(place_skus, place_nodes, place_units) AS t (sku, node, units)
    WHERE stock.sku = t.sku AND stock.node = t.node;
  END IF;
  INSERT INTO reservations (reservation_id, order_id, node, channel, state, expires_at)
  SELECT id, order_id, node, channel, CASE WHEN ttl IS NULL THEN 'committed' ELSE 'held' END,
    now() + make_interval(secs => ttl)
  FROM unnest(ids, order_ids, nodes, channels, ttls) AS t (id, order_id, node, channel, ttl);
  INSERT INTO reservation_lines (reservation_id, line_id, sku, quantity, missing)
  SELECT id, line_id, sku, quantity, coalesce(short, 0)
  FROM unnest(line_of, line_ids, line_skus, quantities, reserve_units.missing)
    AS t (id, line_id, sku, quantity, short);
  IF cardinality(place_skus) = 0 THEN
    INSERT INTO movements (sku, on_hand_delta, allocated_delta, reserved_delta,
      cause, actor, order_id, key, line_id)
    SELECT sku, 0, 0, quantity,
      coalesce('reserved for ' || order_id, 'reserved'), actor, order_id, id, line_id
    FROM unnest(line_of, line_skus, quantities, line_orders, actors, line_ids)
      AS t (id, sku, quantity, order_id, actor, line_id)
    WHERE quantity > 0;
    RETURN;
  END IF;
  INSERT INTO movements (sku, node, on_hand_delta, allocated_delta, reserved_delta,
    on_hand_before, on_hand_after, allocated_before, allocated_after,
    cause, actor, order_id, key, line_id)
  SELECT sku, node, 0, CASE WHEN node IS NULL THEN 0 ELSE quantity END,
    CASE WHEN node IS NULL THEN quantity ELSE 0 END,
    on_hand, on_hand, allocated_after - quantity, allocated_after,
    coalesce('reserved for ' || order_id, 'reserved'), actor, order_id, id, line_id
  FROM (
    SELECT t.*, s.on_hand, s.allocated - sum(quantity) OVER w + quantity AS allocated_after
    FROM unnest(line_of, line_skus, quantities, line_orders, line_nodes, actors, line_ids)
      WITH ORDINALITY AS t (id, sku, quantity, order_id, node, actor, line_id, n)
    LEFT JOIN stock AS s ON s.sku = t.sku AND s.node = t.node
    WHERE quantity > 0
    WINDOW w AS (PARTITION BY t.sku, t.node ORDER BY n DESC)) AS each
  ORDER BY n;
END
$$
"""


def upgrade() -> None:
    op.add_column("reservations", sa.Column("expires_at", sa.DateTime(timezone=True)))
    op.drop_constraint("ck_reservations_state", "reservations")
    op.execute("UPDATE reservations SET state = 'committed' WHERE state = 'held'")
    states = "state IN ('held', 'committed', 'fulfilled', 'released', 'expired')"
    op.create_check_constraint("state", "reservations", states)
    op.create_check_constraint(
        "expires", "reservations", "state <> 'held' OR expires_at IS NOT NULL"
    )
    op.create_index(
        "ix_reservations_expiring",
        "reservations",
        ["expires_at"],
        postgresql_where=sa.text("state = 'held'"),
    )
    op.add_column(
        "reservation_lines", sa.Column("missing", sa.Integer(), nullable=False, server_default="0")
    )
    # The line of a reservation that a movement made: with it the line can be told from the ledger.
    op.add_column("movements", sa.Column("line_id", sa.Text()))
    # What these cost a hot SKU is much of its time, and nothing reads by them. A line is written
    # only with its reservation, units at a node only with those of its stock, which knows the node,
    # and the auditor compares all with the movements.
    op.drop_constraint("fk_reservation_lines_reservation_id", "reservation_lines")
    op.drop_constraint("fk_reservations_node", "reservations")
    op.drop_index("ix_reservations_order_id", table_name="reservations")
    # Room in each page for the next version of its rows: no index is touched then.
    op.execute("ALTER TABLE pool SET (fillfactor = 50)")
    for function in (_HELD_BACK, _RESERVE_UNITS):
        op.execute(function)


def downgrade() -> None:
    for function in ("reserve_units", "held_back"):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("ALTER TABLE pool RESET (fillfactor)")
    op.create_index("ix_reservations_order_id", "reservations", ["order_id"])
    op.create_foreign_key("fk_reservations_node", "reservations", "nodes", ["node"], ["code"])
    op.create_foreign_key(
        "fk_reservation_lines_reservation_id",
        "reservation_lines",
        "reservations",
        ["reservation_id"],
        ["reservation_id"],
    )
    op.drop_column("movements", "line_id")
    op.drop_column("reservation_lines", "missing")
    op.drop_index("ix_reservations_expiring", table_name="reservations")
    op.drop_constraint("ck_reservations_expires", "reservations")
    op.drop_constraint("ck_reservations_state", "reservations")
    op.execute("UPDATE reservations SET state = 'held' WHERE state = 'committed'")
    op.execute("UPDATE reservations SET state = 'released' WHERE state <> 'held'")
    op.create_check_constraint("state", "reservations", "state IN ('held', 'released')")
    op.drop_column("reservations", "expires_at")
