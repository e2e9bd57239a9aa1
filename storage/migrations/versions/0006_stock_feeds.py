"""
Stock feeds: movements say what was before and after; shortages, positions, changes, files.

Revision 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# What was before follows from the sums, for the ledger is append-only and ids follow the row lock.
_BACKFILL = """
UPDATE movements AS m SET
  on_hand_before = s.on_hand - m.on_hand_delta, on_hand_after = s.on_hand,
  allocated_before = s.allocated - m.allocated_delta, allocated_after = s.allocated,
  stated_by = CASE WHEN m.cause = 'counted' THEN 'count' END
FROM (
  SELECT id, sum(on_hand_delta) OVER w AS on_hand, sum(allocated_delta) OVER w AS allocated
  FROM movements WHERE node IS NOT NULL
  WINDOW w AS (PARTITION BY sku, node ORDER BY id)) AS s
WHERE s.id = m.id
"""


def upgrade() -> None:
    op.add_column("stock", sa.Column("short", sa.Integer(), server_default="0", nullable=False))
    op.add_column("stock", sa.Column("counted_at", sa.DateTime(timezone=True)))
    op.add_column("stock", sa.Column("counted_by", sa.Text()))
    op.create_check_constraint("short", "stock", "short = 0 OR (short > 0 AND on_hand = allocated)")
    for name in ("on_hand_before", "on_hand_after", "allocated_before", "allocated_after"):
        op.add_column("movements", sa.Column(name, sa.Integer()))
    op.add_column("movements", sa.Column("stated_by", sa.Text()))
    op.execute(_BACKFILL)
    op.create_index(
        "ix_movements_physical",
        "movements",
        ["sku", "node", "at"],
        unique=False,
        postgresql_where=sa.text("stated_by IS NULL AND on_hand_delta <> 0"),
    )
    _exceptions()
    _feeds()


def downgrade() -> None:
    for table in ("stock_loads", "feed_deltas", "feed_positions", "stock_exceptions"):
        op.drop_table(table)
    op.drop_index("ix_movements_physical", "movements")
    for name in (
        "on_hand_before",
        "on_hand_after",
        "allocated_before",
        "allocated_after",
        "stated_by",
    ):
        op.drop_column("movements", name)
    op.drop_constraint(op.f("ck_stock_short"), "stock")
    for name in ("short", "counted_at", "counted_by"):
        op.drop_column("stock", name)


def _exceptions() -> None:
    op.create_table(
        "stock_exceptions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("short", sa.Integer(), nullable=False),
        sa.Column("there", sa.Integer(), nullable=False),
        sa.Column("allocated", sa.Integer(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column(
            "opened_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column(
            "changed_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("cleared_at", sa.DateTime(timezone=True)),
        sa.Column("cleared_by", sa.Text()),
        sa.ForeignKeyConstraint(["node"], ["nodes.code"], name="fk_stock_exceptions_node"),
        sa.PrimaryKeyConstraint("id", name="pk_stock_exceptions"),
    )
    op.create_index(
        "uq_stock_exceptions_open",
        "stock_exceptions",
        ["sku", "node"],
        unique=True,
        postgresql_where=sa.text("cleared_at IS NULL"),
    )


def _feeds() -> None:
    op.create_table(
        "feed_positions",
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("on_hand", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sku", "node", "source", name="pk_feed_positions"),
    )
    op.create_table(
        "feed_deltas",
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("change", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sku", "node", "source", "sequence", name="pk_feed_deltas"),
    )
    op.create_table(
        "stock_loads",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("digest", name="pk_stock_loads"),
    )
