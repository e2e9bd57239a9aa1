"""Orders, what was decided and promised, and what happened to them."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from storage.tables.base import INSTANT, metadata, now

# `run` is the first run of the workflow chain that wrote the row; (`version_at`, `version_seq`) is
# the last change applied. `attention` and `nodes` repeat what `state` says, for search.
# Orders that supply may help: what was short of stock, and what no node could fulfill.
WAITS_FOR_SUPPLY = (
    "terminal_at IS NULL AND (state -> 'short' <> '{}' OR attention @> ARRAY['no_node'])"
)

# Work that no node was asked for, and may wait to be given to one.
UNRELEASED = "status = 'open' AND request = 'unsubmitted' AND release_at IS NOT NULL"

orders = Table(
    "orders",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("channel", Text, nullable=False),
    Column("channel_order_id", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("writer", Text, nullable=False),
    Column("last_change", Text, nullable=False),
    Column("payload_hash", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    Column("email", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("postal_code", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("placed_at", INSTANT, nullable=False),
    now("accepted_at"),
    now("updated_at"),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("attention", ARRAY(Text), nullable=False),
    Column("nodes", ARRAY(Text), nullable=False),
    Column("state", JSONB, nullable=False),
    Column("version_at", INSTANT, nullable=False),
    Column("version_seq", Integer, nullable=False),
    Column("promise_by", INSTANT),
    Column("terminal_at", INSTANT),
    UniqueConstraint("channel", "channel_order_id"),
    Index("ix_orders_page", text("accepted_at DESC"), "order_id"),
    Index("ix_orders_open", "accepted_at", postgresql_where=text("terminal_at IS NULL")),
    Index("ix_orders_waits_for_supply", "accepted_at", postgresql_where=text(WAITS_FOR_SUPPLY)),
    Index("ix_orders_email", text("lower(email)")),
    Index("ix_orders_channel_order_id", "channel_order_id"),
    Index("ix_orders_postal_code", "postal_code"),
)

Index(
    "ix_orders_name",
    func.lower(orders.c.name).label("lower_name"),
    postgresql_ops={"lower_name": "text_pattern_ops"},
)

fulfillments = Table(
    "fulfillments",
    metadata,
    Column("fulfillment_id", Text, primary_key=True),
    Column("order_id", Text, ForeignKey("orders.order_id"), nullable=False, index=True),
    Column("node", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("ship_by", INSTANT, nullable=False),
    Column("deliver_by", INSTANT, nullable=False),
    Column("pickup_until", INSTANT),
    Column("release_at", INSTANT),
    Column("cost_minor", BigInteger, nullable=False),
    Column("goods_minor", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    now("created_at"),
    now("updated_at"),
    Column("submitted_at", INSTANT),
    Index("ix_fulfillments_node_status", "node", "status"),
    Index("ix_fulfillments_unreleased", "release_at", postgresql_where=text(UNRELEASED)),
)

order_events = Table(
    "order_events",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("order_id", Text, ForeignKey("orders.order_id"), nullable=False),
    Column("key", Text, nullable=False),
    Column("at", INSTANT, nullable=False),
    Column("type", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("fulfillment_id", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    UniqueConstraint("order_id", "key"),
    Index("ix_order_events_timeline", "order_id", "id"),
)

# A quoted plan that one order may claim until `expires_at`: `order_id` is the order that did. The
# row may be there before the order is; one that was never claimed goes some time after its end.
promises = Table(
    "promises",
    metadata,
    Column("token", Text, primary_key=True),
    Column("channel", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    Column("expires_at", INSTANT, nullable=False),
    now("created_at"),
    Column("order_id", Text),
    Column("claimed_at", INSTANT),
    Index("ix_promises_unclaimed", "expires_at", postgresql_where=text("order_id IS NULL")),
)
