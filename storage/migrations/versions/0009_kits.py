"""
Kits: products that are made of others, found among all.

Revision 0009.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_products_kits",
        "products",
        ["sku"],
        unique=False,
        postgresql_where=sa.text("body -> 'components' <> '[]'"),
    )
    # Without them the planner takes nearly every product for a kit, and reads them all.
    op.execute("CREATE STATISTICS products_components ON (body -> 'components') FROM products")


def downgrade() -> None:
    op.execute("DROP STATISTICS products_components")
    op.drop_index("ix_products_kits", table_name="products")
