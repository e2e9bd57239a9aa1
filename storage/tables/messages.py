"""What comes in, and what goes out."""

from sqlalchemy import (
    BigInteger,
    Column,
    Identity,
    Index,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from storage.tables.base import OPEN, metadata, now, work

# What tells a channel's documents from nodes' events and from what we tell ourselves.
FROM_CHANNELS = "kind NOT IN ('node_event', 'node_down', 'source_again', 'supply')"

# `order_id` of a channel's document is null where none could be read in it.
inbox = Table(
    "inbox",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("source", Text, nullable=False),
    Column("delivery_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("order_id", Text),
    Column("fulfillment_id", Text),
    Column("body", JSONB, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("headers", JSONB, nullable=False),
    now("received_at"),
    *work(),
    UniqueConstraint("source", "delivery_id"),
    Index("ix_inbox_open", "id", postgresql_where=OPEN),
    Index("ix_inbox_open_by_order", "order_id", "id", postgresql_where=OPEN),
    Index(
        "ix_inbox_fulfillment_id", "fulfillment_id", postgresql_where=text("fulfillment_id <> ''")
    ),
    Index("ix_inbox_from_channels", "order_id", "id", postgresql_where=text(FROM_CHANNELS)),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    now("created_at"),
    *work(),
    UniqueConstraint("key"),
    Index("ix_outbox_open", "id", postgresql_where=OPEN),
    Index("ix_outbox_open_by_order", "order_id", "kind", "id", postgresql_where=OPEN),
)
