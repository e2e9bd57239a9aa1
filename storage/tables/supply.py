"""What is still to come, which orders wait, and who is to get what of it."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
)

from storage.tables.base import INSTANT, metadata, now

# Whoever writes a row of these holds the pool's row of its SKU. `sequence` is the source's own, of
# its last statement; `received` may be more than `quantity`, and is counted all the same.
supplies = Table(
    "supplies",
    metadata,
    Column("source", Text, primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("node", Text, ForeignKey("nodes.code"), nullable=False),
    Column("sku", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("received", Integer, nullable=False, server_default="0"),
    Column("expected_at", INSTANT, nullable=False),
    Column("confidence", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    now("updated_at"),
    CheckConstraint("kind IN ('purchase_order', 'transfer', 'production')", name="kind"),
    CheckConstraint("confidence IN ('firm', 'tentative')", name="confidence"),
    CheckConstraint("status IN ('open', 'cancelled')", name="status"),
    CheckConstraint("quantity >= 0 AND received >= 0", name="quantities"),
    Index("ix_supplies_sku", "sku", "expected_at"),
)

# An order that is short and waits; by `priority`, then the first `since` is served first.
# `expected_at` is the date it was told, null where none is known, `moves` how often that moved.
# What came for it is kept in the reservation, which has no order until the order takes it.
backorders = Table(
    "backorders",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("reservation_id", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("node", Text),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("since", INSTANT, nullable=False),
    Column("expected_at", INSTANT),
    Column("moves", Integer, nullable=False, server_default="0"),
)

# What its lines want in all; what the reservation does not hold of it is missing.
backorder_lines = Table(
    "backorder_lines",
    metadata,
    Column(
        "order_id", Text, ForeignKey("backorders.order_id", ondelete="CASCADE"), primary_key=True
    ),
    Column("line_id", Text, primary_key=True),
    Column("sku", Text, nullable=False, index=True),
    Column("quantity", Integer, nullable=False),
    CheckConstraint("quantity > 0", name="quantity"),
)

# Who is to get what, by `domain.supply.match`: made anew whenever supply or the waiting change.
supply_claims = Table(
    "supply_claims",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("line_id", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("ref", Text, primary_key=True),
    Column("sku", Text, nullable=False, index=True),
    Column("units", Integer, nullable=False),
    ForeignKeyConstraint(
        ["order_id", "line_id"],
        ["backorder_lines.order_id", "backorder_lines.line_id"],
        ondelete="CASCADE",
    ),
    ForeignKeyConstraint(["source", "ref"], ["supplies.source", "supplies.ref"]),
    CheckConstraint("units > 0", name="units"),
    Index("ix_supply_claims_supply", "source", "ref"),
)
