"""
A node's day has a limit of units too, is confirmed by its word, and signals hold for a time.

Revision 0014.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# Every row is written again: so its second copy knows the columns that it now has.
_UNITS = """
UPDATE node_capacity AS c SET units = coalesce((
  SELECT sum(l.quantity + l.shipped) FROM allocations AS a
  JOIN allocation_lines AS l USING (fulfillment_id)
  WHERE a.node = c.node AND a.capacity_day = c.day), 0)
"""
_LIMITS = "UPDATE nodes SET units_per_day = (body ->> 'units_per_day')::integer"
_CONFIRMED = """
UPDATE allocations AS a SET state = 'confirmed' WHERE state = 'held' AND (
  EXISTS (SELECT FROM allocation_lines AS l
    WHERE l.fulfillment_id = a.fulfillment_id AND l.shipped > 0)
  OR EXISTS (SELECT FROM fulfillments AS f
    WHERE f.fulfillment_id = a.fulfillment_id AND f.request = 'accepted'))
"""


def upgrade() -> None:
    op.add_column("nodes", sa.Column("units_per_day", sa.Integer()))
    op.add_column(
        "node_capacity", sa.Column("units", sa.Integer(), nullable=False, server_default="0")
    )
    op.add_column("node_capacity", sa.Column("units_capacity", sa.Integer()))
    _signals()
    _states("'held', 'confirmed', 'void'")
    for statement in (_UNITS, _LIMITS, _CONFIRMED):
        op.execute(statement)
    op.create_check_constraint(
        "units_within",
        "node_capacity",
        "units >= 0 AND (units_capacity IS NULL OR units <= units_capacity)",
    )


def downgrade() -> None:
    op.drop_table("node_signals")
    op.execute("DELETE FROM copies WHERE relation = 'node_signals'")
    op.execute("UPDATE allocations SET state = 'held' WHERE state = 'confirmed'")
    _states("'held', 'void'")
    op.drop_column("node_capacity", "units_capacity")
    op.drop_column("node_capacity", "units")
    op.drop_column("nodes", "units_per_day")
    op.execute("UPDATE node_capacity SET used = used")
    op.execute("UPDATE nodes SET status = status")


def _signals() -> None:
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "node_signals",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.Column("until", instant, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", instant, nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint(
            "kind IN ('capacity_percent', 'lead_hours', 'offline_for_sourcing')", name="kind"
        ),
        sa.ForeignKeyConstraint(["node"], ["nodes.code"], name="fk_node_signals_node"),
        sa.PrimaryKeyConstraint("node", "kind", name="pk_node_signals"),
    )
    op.execute(
        "CREATE TRIGGER keep_copy AFTER INSERT OR UPDATE OR DELETE ON node_signals"
        " FOR EACH ROW EXECUTE FUNCTION keep_copy('node', 'kind')"
    )


def _states(known: str) -> None:
    op.drop_constraint(op.f("ck_allocations_state"), "allocations")
    op.create_check_constraint("state", "allocations", f"state IN ({known})")
