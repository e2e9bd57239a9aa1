"""Orders that wait to be sourced together with others of their profile."""

from sqlalchemy import Column, ForeignKey, Index, Integer, Table, Text
from sqlalchemy.dialects.postgresql import JSONB

from storage.tables.base import INSTANT, metadata, now

# `request` is what the order's workflow asked for. A batch claims its rows until `claimed_until`.
cooling = Table(
    "cooling",
    metadata,
    Column("order_id", Text, ForeignKey("orders.order_id"), primary_key=True),
    Column("round", Integer, nullable=False),
    Column("profile", Text, nullable=False),
    Column("due_at", INSTANT, nullable=False),
    Column("request", JSONB, nullable=False),
    Column("claimed_until", INSTANT),
    now("since"),
    Index("ix_cooling_due", "profile", "due_at"),
)
