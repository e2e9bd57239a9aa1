"""
Goods that come in find the orders that wait for them, however many others are open.

Revision 0003.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_orders_waits_for_supply",
        "orders",
        ["accepted_at"],
        unique=False,
        postgresql_where=sa.text(
            "terminal_at IS NULL AND (state -> 'short' <> '{}' OR attention @> ARRAY['no_node'])"
        ),
    )


def downgrade() -> None:
    op.drop_index("ix_orders_waits_for_supply", table_name="orders")
