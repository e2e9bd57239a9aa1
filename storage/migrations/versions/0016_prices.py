"""
Books of shadow prices, which one holds and since when, and decisions by their time.

Revision 0016.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_TABLES = ("price_log", "price_books")


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "price_books",
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("unpriced", sa.Float(), nullable=False),
        sa.Column("decisions", sa.Integer(), nullable=False),
        sa.Column("evidence", JSONB(), nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
        sa.Column("made_at", instant, nullable=False, server_default=sa.func.now()),
        sa.PrimaryKeyConstraint("version", name="pk_price_books"),
    )
    op.create_table(
        "price_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("version", sa.Text()),
        sa.Column("note", sa.Text(), nullable=False, server_default=""),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", instant, nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("action IN ('activated', 'none', 'off', 'on')", name="action"),
        sa.CheckConstraint("version IS NULL OR action IN ('activated', 'on')", name="version"),
        sa.ForeignKeyConstraint(
            ["version"], ["price_books.version"], name="fk_price_log_version_price_books"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_price_log"),
    )
    for table in _TABLES:
        op.execute(
            f"CREATE TRIGGER log_grows BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION log_grows()"
        )
    op.create_index(
        "ix_decisions_first_at",
        "decisions",
        ["at", "order_id"],
        postgresql_where=sa.text("round = 1"),
    )


def downgrade() -> None:
    op.drop_index("ix_decisions_first_at", table_name="decisions")
    for table in _TABLES:
        op.drop_table(table)
