"""
Stock rules, their log, watches and their events; reservations and allocations know their channel.

Revision 0004.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_SUBJECT = ("kind", "channel", "node", "sku", "category")


def upgrade() -> None:
    _rules()
    _watches()
    op.create_index(
        "ix_nodes_not_shipping",
        "nodes",
        ["code"],
        unique=False,
        postgresql_where=sa.text("NOT (body ->> 'ships')::boolean"),
    )
    for table in ("reservations", "allocations"):
        op.add_column(table, sa.Column("channel", sa.Text(), server_default="", nullable=False))
        op.execute(
            f"UPDATE {table} AS t SET channel = o.channel FROM orders AS o"  # noqa: S608
            " WHERE o.order_id = t.order_id"
        )


def downgrade() -> None:
    for table in ("allocations", "reservations"):
        op.drop_column(table, "channel")
    op.drop_index("ix_nodes_not_shipping", table_name="nodes")
    for table in ("stock_events", "stock_watches", "stock_rule_log", "stock_rules"):
        op.drop_table(table)


def _rules() -> None:
    op.create_table(
        "stock_rules",
        *(sa.Column(name, sa.Text(), nullable=False) for name in _SUBJECT),
        sa.Column("units", sa.Integer()),
        sa.Column("percent", sa.Integer()),
        sa.Column("ship", sa.Boolean()),
        sa.Column("pickup", sa.Boolean()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("units >= 0 AND percent BETWEEN 0 AND 100", name="amounts"),
        sa.PrimaryKeyConstraint(*_SUBJECT, name="pk_stock_rules"),
    )
    op.create_index("ix_stock_rules_goods", "stock_rules", ["sku", "category"], unique=False)
    op.create_table(
        "stock_rule_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Text(), server_default="", nullable=False) for name in _SUBJECT[1:]),
        sa.Column("said", postgresql.JSONB()),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_stock_rule_log"),
    )


def _watches() -> None:
    op.create_table(
        "stock_watches",
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("low", sa.Integer(), nullable=False),
        sa.Column("high", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), server_default="ok", nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("0 <= low AND low <= high", name="limits"),
        sa.CheckConstraint("state IN ('ok', 'low')", name="state"),
        sa.PrimaryKeyConstraint("sku", "node", name="pk_stock_watches"),
    )
    op.create_table(
        "stock_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("units", sa.Integer(), nullable=False),
        sa.Column("low", sa.Integer(), nullable=False),
        sa.Column("high", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("type IN ('low_stock', 'back_in_stock')", name="type"),
        sa.PrimaryKeyConstraint("id", name="pk_stock_events"),
    )
