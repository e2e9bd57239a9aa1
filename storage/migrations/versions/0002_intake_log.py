"""
The intake log: a channel's document is found by the order that it turned out to be of.

Revision 0002.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_inbox_from_channels",
        "inbox",
        ["order_id", "id"],
        unique=False,
        postgresql_where=sa.text("kind NOT IN ('node_event', 'node_down', 'supply')"),
    )


def downgrade() -> None:
    op.drop_index("ix_inbox_from_channels", table_name="inbox")
