"""
What was altered by hand can be seen and mended: second copies, repairs, a ledger that only grows.

Revision 0010.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_KEYS = {
    "allocation_lines": ("fulfillment_id", "line_id"),
    "allocations": ("fulfillment_id",),
    "feed_deltas": ("sku", "node", "source", "sequence"),
    "feed_positions": ("sku", "node", "source"),
    "node_capacity": ("node", "day"),
    "node_log": ("id",),
    "nodes": ("code",),
    "operations": ("kind", "key"),
    "reservation_lines": ("reservation_id", "line_id"),
    "reservations": ("reservation_id",),
    "backorder_lines": ("order_id", "line_id"),
    "backorders": ("order_id",),
    "stock_events": ("id",),
    "stock_exceptions": ("id",),
    "stock_loads": ("digest",),
    "stock_rule_log": ("id",),
    "stock_rules": ("kind", "channel", "node", "sku", "category"),
    "stock_watches": ("sku", "node"),
    "supplies": ("source", "ref"),
    "supply_claims": ("order_id", "line_id", "source", "ref"),
}
# What a reservation of an order is when it is made, its movements tell: that costs it nothing.
_TOLD = {
    "reservations": "NEW.order_id IS NULL OR NEW.state <> 'committed'",
    "reservation_lines": "NEW.missing > 0 OR NEW.quantity = 0",
}

# Only what the product writes has a copy: its sessions bear its name (`storage/database.py`).
_KEEP_COPY = """
CREATE FUNCTION keep_copy() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
  whole jsonb;
  named jsonb;
BEGIN
  IF current_setting('application_name') <> 'crossdock' THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'DELETE' THEN whole := to_jsonb(OLD); ELSE whole := to_jsonb(NEW); END IF;
  SELECT jsonb_object_agg(c, whole -> c) INTO named FROM unnest(TG_ARGV) AS c;
  IF TG_OP = 'DELETE' THEN
    DELETE FROM copies WHERE relation = TG_TABLE_NAME AND key = named;
  ELSE
    INSERT INTO copies (relation, key, row, seal)
    VALUES (TG_TABLE_NAME, named, whole, copy_seal(TG_TABLE_NAME, named, whole))
    ON CONFLICT (relation, key) DO UPDATE SET row = excluded.row, seal = excluded.seal;
  END IF;
  RETURN NULL;
END
$$
"""
_SEAL = """
CREATE FUNCTION copy_seal(relation text, key jsonb, whole jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$ SELECT md5(relation || key::text || whole::text) $$
"""
# A repair alone may touch what was told, and says so in its transaction.
_APPEND_ONLY = """
CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF coalesce(current_setting('crossdock.repair', true), '') = '' THEN
    RAISE EXCEPTION '% only grows: what was told of stock is not told anew', TG_TABLE_NAME
      USING ERRCODE = 'CD003';
  END IF;
  RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$
"""
_DECIDED = """
CREATE FUNCTION decided_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' OR OLD.status <> 'proposed' OR (NEW.id, NEW.kind, NEW.relation, NEW.key,
      NEW.policy, NEW.at) <> (OLD.id, OLD.kind, OLD.relation, OLD.key, OLD.policy, OLD.at) THEN
    RAISE EXCEPTION 'a repair is decided once, and stays on record' USING ERRCODE = 'CD003';
  END IF;
  RETURN NEW;
END
$$
"""
# Counts that changed nothing were not told until now; who counted a shelf last is to be on record.
_TELL_COUNTS = """
INSERT INTO movements (sku, node, on_hand_delta, allocated_delta, reserved_delta, on_hand_before,
  on_hand_after, allocated_before, allocated_after, cause, actor, key, stated_by, at)
SELECT sku, node, 0, 0, 0, on_hand, on_hand, allocated, allocated, 'counted', 'crossdock', '0010',
  'count', counted_at
FROM stock WHERE counted_by = 'count'
"""


def upgrade() -> None:
    _tables()
    op.execute(_TELL_COUNTS)
    for function in (_SEAL, _KEEP_COPY, _APPEND_ONLY, _DECIDED):
        op.execute(function)
    for table, key in _KEYS.items():
        _copied(table, key)
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON movements"
        " FOR EACH ROW EXECUTE FUNCTION append_only()"
    )
    op.execute(
        "CREATE TRIGGER decided_once BEFORE UPDATE OR DELETE ON repairs"
        " FOR EACH ROW EXECUTE FUNCTION decided_once()"
    )


def downgrade() -> None:
    for table in _KEYS:
        for name in ("keep_copy", "keep_new"):
            op.execute(f"DROP TRIGGER IF EXISTS {name} ON {table}")
    op.execute("DROP TRIGGER append_only ON movements")
    for table in ("audit_passes", "repairs", "copies"):
        op.drop_table(table)
    for function in ("keep_copy", "append_only", "decided_once", "copy_seal"):
        op.execute(f"DROP FUNCTION {function}")


def _tables() -> None:
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "copies",
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("key", JSONB(), nullable=False),
        sa.Column("row", JSONB(), nullable=False),
        sa.Column("seal", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("relation", "key", name="pk_copies"),
    )
    op.create_table(
        "repairs",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("key", JSONB(), nullable=False),
        sa.Column("finding", sa.Text(), nullable=False),
        sa.Column("before", JSONB()),
        sa.Column("after", JSONB()),
        sa.Column("policy", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, server_default="proposed"),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False, server_default=""),
        sa.Column("at", instant, nullable=False, server_default=sa.func.now()),
        sa.Column("decided_at", instant),
        sa.Column("decided_by", sa.Text()),
        sa.CheckConstraint("policy IN ('apply', 'propose')", name="policy"),
        sa.CheckConstraint("status IN ('proposed', 'applied', 'refused', 'gone')", name="status"),
        sa.PrimaryKeyConstraint("id", name="pk_repairs"),
    )
    op.create_index(
        "uq_repairs_open",
        "repairs",
        ["kind", "relation", "key"],
        unique=True,
        postgresql_where=sa.text("status = 'proposed'"),
    )
    op.create_table(
        "audit_passes",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", instant, nullable=False),
        sa.Column("ended_at", instant),
        sa.Column("findings", sa.Integer()),
        sa.PrimaryKeyConstraint("kind", name="pk_audit_passes"),
    )


def _copied(table: str, key: tuple[str, ...]) -> None:
    names = ", ".join(f"'{name}'" for name in key)
    made = f"FOR EACH ROW EXECUTE FUNCTION keep_copy({names})"
    if told := _TOLD.get(table):
        op.execute(f"CREATE TRIGGER keep_new AFTER INSERT ON {table} FOR EACH ROW WHEN ({told})"
                   f" EXECUTE FUNCTION keep_copy({names})")  # fmt: skip
        op.execute(f"CREATE TRIGGER keep_copy AFTER UPDATE OR DELETE ON {table} {made}")
    else:
        op.execute(f"CREATE TRIGGER keep_copy AFTER INSERT OR UPDATE OR DELETE ON {table} {made}")
    pairs = ", ".join(f"'{name}', t.{name}" for name in key)
    op.execute(f"""
        INSERT INTO copies (relation, key, row, seal)
        SELECT '{table}', key, row, copy_seal('{table}', key, row)
        FROM (SELECT jsonb_build_object({pairs}) AS key, to_jsonb(t) AS row
          FROM {table} AS t) AS each""")  # noqa: S608 - of the names above
