"""Nodes, what they sell, what it costs to send, and who speaks to us."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from storage.tables.base import INSTANT, metadata, now

# `status` and `timezone` are columns because SQL reads them; `body` is the whole domain Node, whose
# own status is only the one that it was created with.
nodes = Table(
    "nodes",
    metadata,
    Column("code", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("capacity_per_day", Integer),
    Column("units_per_day", Integer),
    Column("body", JSONB, nullable=False),
    now("updated_at"),
    CheckConstraint("status IN ('online', 'offline')", name="status"),
    Index(
        "ix_nodes_not_shipping",
        "code",
        postgresql_where=text("NOT (body ->> 'ships')::boolean"),
    ),
)

node_log = Table(
    "node_log",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("node", Text, ForeignKey("nodes.code"), nullable=False, index=True),
    Column("status", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    now("at"),
)

# What holds of a node until an instant: see `storage/signals.py`.
node_signals = Table(
    "node_signals",
    metadata,
    Column("node", Text, ForeignKey("nodes.code"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("value", Integer, nullable=False),
    Column("until", INSTANT, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    now("at"),
    CheckConstraint(
        "kind IN ('capacity_percent', 'lead_hours', 'offline_for_sourcing')", name="kind"
    ),
)

products = Table(
    "products",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("body", JSONB, nullable=False),
    now("updated_at"),
    Index(
        "ix_products_kits",
        "sku",
        postgresql_where=text("body -> 'components' <> '[]'"),
    ),
)

product_aliases = Table(
    "product_aliases",
    metadata,
    Column("alias", Text, primary_key=True),
    Column("sku", Text, ForeignKey("products.sku", ondelete="CASCADE"), nullable=False, index=True),
)

rate_cards = Table(
    "rate_cards",
    metadata,
    Column("service", Text, primary_key=True),
    Column("body", JSONB, nullable=False),
)

channels = Table(
    "channels",
    metadata,
    Column("code", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("when_short", Text, nullable=False),
    Column("cursor", Text),
    CheckConstraint("kind IN ('shopify', 'magento', 'api')", name="kind"),
    CheckConstraint("when_short IN ('backorder', 'refuse')", name="when_short"),
)

# Secrets of partners, sealed before they come here. `owner` is `node:{code}` or `channel:{code}`.
credentials = Table(
    "credentials",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("sealed", Text, nullable=False),
    now("updated_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("channels", ARRAY(Text)),
    Column("nodes", ARRAY(Text)),
    now("created_at"),
    Column("revoked_at", INSTANT),
)
