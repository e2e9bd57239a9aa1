"""Books of shadow prices, and the history of which one holds. Rows are never changed."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Identity,
    Integer,
    LargeBinary,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import JSONB

from storage.tables.base import metadata, now

# `version` is the SHA-256 of `packed` (see domain/sourcing/prices.py); a share `unpriced` of the
# SKUs is without prices, to be compared with. `evidence` is how it came to be tried and chosen.
price_books = Table(
    "price_books",
    metadata,
    Column("version", Text, primary_key=True),
    Column("method", Text, nullable=False),
    Column("unpriced", Float, nullable=False),
    Column("decisions", Integer, nullable=False),
    Column("evidence", JSONB, nullable=False),
    Column("packed", LargeBinary, nullable=False),
    now("made_at"),
)

# The last row is how it stands: the book that holds, or none, or that prices are `off`.
price_log = Table(
    "price_log",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("action", Text, nullable=False),
    Column("version", Text, ForeignKey("price_books.version")),
    Column("note", Text, nullable=False, server_default=""),
    Column("actor", Text, nullable=False),
    now("at"),
    CheckConstraint("action IN ('activated', 'none', 'off', 'on')", name="action"),
    CheckConstraint("version IS NULL OR action IN ('activated', 'on')", name="version"),
)
