"""
What clients ask for under their own keys is kept, so that a key stands for one request.

Revision 0011.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reservation_requests",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("reservation_id", sa.Text(), primary_key=True),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
    )
    op.create_index("ix_reservation_requests_channel", "reservation_requests", ["channel", "id"])
    op.execute(
        "CREATE TRIGGER keep_copy AFTER INSERT OR UPDATE OR DELETE ON reservation_requests"
        " FOR EACH ROW EXECUTE FUNCTION keep_copy('reservation_id')"
    )


def downgrade() -> None:
    op.drop_table("reservation_requests")
    # Else the auditor would write what it knew of them into the table that is made anew.
    op.execute("DELETE FROM copies WHERE relation = 'reservation_requests'")
