"""What was decided, and the pieces of it that many decisions share. Rows are never changed."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from storage.tables.base import INSTANT, metadata

# `own` is what is this decision's alone, `pieces` the names of what it shares, `digest` the SHA-256
# of `own`; `body` repeats what of it SQL sums (see domain/sourcing/record.py). Rows of before have
# everything in `body`, and none of the other three.
decisions = Table(
    "decisions",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("decision_id", Text, nullable=False),
    Column("solver", Text, nullable=False),
    Column("cost_minor", BigInteger, nullable=False),
    Column("body", JSONB, nullable=False),
    Column("at", INSTANT, nullable=False),
    Column("own", LargeBinary),
    Column("pieces", ARRAY(LargeBinary)),
    Column("digest", LargeBinary),
    UniqueConstraint("decision_id"),
    CheckConstraint("num_nulls(own, pieces, digest) IN (0, 3)", name="packed"),
    Index("ix_decisions_first_at", "at", "order_id", postgresql_where=text("round = 1")),
)

decision_pieces = Table(
    "decision_pieces",
    metadata,
    Column("name", LargeBinary, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
