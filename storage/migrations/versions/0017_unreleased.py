"""
Allocated work waits to be given to its node, and may be sourced anew until then.

Revision 0016.
"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_TOLD_BEFORE = "kind NOT IN ('node_event', 'node_down', 'supply')"
_TOLD = "kind NOT IN ('node_event', 'node_down', 'source_again', 'supply')"
_UNRELEASED = "status = 'open' AND request = 'unsubmitted' AND release_at IS NOT NULL"


def upgrade() -> None:
    op.add_column("fulfillments", sa.Column("release_at", sa.TIMESTAMP(timezone=True)))
    op.create_index(
        "ix_fulfillments_unreleased",
        "fulfillments",
        ["release_at"],
        postgresql_where=sa.text(_UNRELEASED),
    )
    _index_from_channels(_TOLD)


def downgrade() -> None:
    _index_from_channels(_TOLD_BEFORE)
    op.drop_index("ix_fulfillments_unreleased", "fulfillments")
    op.drop_column("fulfillments", "release_at")


def _index_from_channels(kinds: str) -> None:
    op.drop_index("ix_inbox_from_channels", "inbox")
    op.create_index(
        "ix_inbox_from_channels", "inbox", ["order_id", "id"], postgresql_where=sa.text(kinds)
    )
