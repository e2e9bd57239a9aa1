"""What the auditor leans on and leaves behind: second copies, repairs, and when it last looked."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from storage.tables.base import INSTANT, metadata, now

# A second copy of each row whose content nothing else determines, written by triggers when the
# product writes the row (`keep_copy`), and not when a hand does. `seal` is a digest of the rest.
copies = Table(
    "copies",
    metadata,
    Column("relation", Text, primary_key=True),
    Column("key", JSONB, primary_key=True),
    Column("row", JSONB, nullable=False),
    Column("seal", Text, nullable=False),
)

# One wrong row and what was, or is to be, done about it: `before` null is a row that was not there,
# `after` null one that goes. `gone`: it was right again when it was to be mended.
repairs = Table(
    "repairs",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("relation", Text, nullable=False),
    Column("key", JSONB, nullable=False),
    Column("finding", Text, nullable=False),
    Column("before", JSONB(none_as_null=True)),
    Column("after", JSONB(none_as_null=True)),
    Column("policy", Text, nullable=False),
    Column("status", Text, nullable=False, server_default="proposed"),
    Column("actor", Text, nullable=False),
    Column("note", Text, nullable=False, server_default=""),
    now("at"),
    Column("decided_at", INSTANT),
    Column("decided_by", Text),
    CheckConstraint("policy IN ('apply', 'propose')", name="policy"),
    CheckConstraint("status IN ('proposed', 'applied', 'refused', 'gone')", name="status"),
    Index(
        "uq_repairs_open",
        "kind",
        "relation",
        "key",
        unique=True,
        postgresql_where=text("status = 'proposed'"),
    ),
)

# When the auditor last began a `quick` and a `full` pass, and prices were last fitted (`prices`),
# for all workers together.
audit_passes = Table(
    "audit_passes",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("at", INSTANT, nullable=False),
    Column("ended_at", INSTANT),
    Column("findings", Integer),
)
