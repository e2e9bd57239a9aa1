"""
Orders wait to be sourced together with others of their profile.

Revision 0015.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_INSTANT = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "cooling",
        sa.Column("order_id", sa.Text(), sa.ForeignKey("orders.order_id"), primary_key=True),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("due_at", _INSTANT, nullable=False),
        sa.Column("request", postgresql.JSONB(), nullable=False),
        sa.Column("claimed_until", _INSTANT),
        sa.Column("since", _INSTANT, nullable=False, server_default=sa.text("now()")),
    )
    op.create_index("ix_cooling_due", "cooling", ["profile", "due_at"])


def downgrade() -> None:
    op.drop_table("cooling")
