"""
Supply that is still to come, by name; the orders that wait for it.

Revision 0008.
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_INSTANT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "supplies",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("received", sa.Integer(), server_default="0", nullable=False),
        sa.Column("expected_at", _INSTANT, nullable=False),
        sa.Column("confidence", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("updated_at", _INSTANT, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind IN ('purchase_order', 'transfer', 'production')", name=op.f("ck_supplies_kind")
        ),
        sa.CheckConstraint(
            "confidence IN ('firm', 'tentative')", name=op.f("ck_supplies_confidence")
        ),
        sa.CheckConstraint("status IN ('open', 'cancelled')", name=op.f("ck_supplies_status")),
        sa.CheckConstraint("quantity >= 0 AND received >= 0", name=op.f("ck_supplies_quantities")),
        sa.ForeignKeyConstraint(["node"], ["nodes.code"], name=op.f("fk_supplies_node")),
        sa.PrimaryKeyConstraint("source", "ref", name=op.f("pk_supplies")),
    )
    op.create_index("ix_supplies_sku", "supplies", ["sku", "expected_at"])
    op.create_table(
        "backorders",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("reservation_id", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("node", sa.Text()),
        sa.Column("priority", sa.Integer(), server_default="0", nullable=False),
        sa.Column("since", _INSTANT, nullable=False),
        sa.Column("expected_at", _INSTANT),
        sa.Column("moves", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("order_id", name=op.f("pk_backorders")),
    )
    op.create_table(
        "backorder_lines",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("line_id", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_backorder_lines_quantity")),
        sa.ForeignKeyConstraint(
            ["order_id"],
            ["backorders.order_id"],
            name=op.f("fk_backorder_lines_order_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("order_id", "line_id", name=op.f("pk_backorder_lines")),
    )
    op.create_index(op.f("ix_backorder_lines_sku"), "backorder_lines", ["sku"])
    op.create_table(
        "supply_claims",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("line_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("units", sa.Integer(), nullable=False),
        sa.CheckConstraint("units > 0", name=op.f("ck_supply_claims_units")),
        sa.ForeignKeyConstraint(
            ["order_id", "line_id"],
            ["backorder_lines.order_id", "backorder_lines.line_id"],
            name=op.f("fk_supply_claims_order_id_line_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["source", "ref"],
            ["supplies.source", "supplies.ref"],
            name=op.f("fk_supply_claims_source_ref"),
        ),
        sa.PrimaryKeyConstraint(
            "order_id", "line_id", "source", "ref", name=op.f("pk_supply_claims")
        ),
    )
    op.create_index(op.f("ix_supply_claims_sku"), "supply_claims", ["sku"])
    op.create_index("ix_supply_claims_supply", "supply_claims", ["source", "ref"])


def downgrade() -> None:
    for table in ("supply_claims", "backorder_lines", "backorders", "supplies"):
        op.drop_table(table)
