"""
Kits: products that are made of others, found by what they are made of.

Revision 0009.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_products_kits",
        "products",
        [sa.text("(body -> 'components')")],
        unique=False,
        postgresql_using="gin",
        postgresql_where=sa.text("body -> 'components' <> '[]'"),
    )


def downgrade() -> None:
    op.drop_index("ix_products_kits", table_name="products")
