"""Rule sets by name and version, and the history of who did what with them."""

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

from storage.tables.base import metadata, now

# What a version says never changes (`said_once`): only its status does, and forwards only. Of each
# name one version is active at most. `digest` is of the body.
rule_sets = Table(
    "rule_sets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("status", Text, nullable=False, server_default="draft"),
    Column("body", JSONB, nullable=False),
    Column("digest", Text, nullable=False),
    Column("actor", Text, nullable=False),
    now("at"),
    CheckConstraint("status IN ('draft', 'active', 'archived')", name="status"),
    CheckConstraint("version > 0", name="version"),
    Index("uq_rule_sets_active", "name", unique=True, postgresql_where=text("status = 'active'")),
)

# It only grows (`append_only`).
rule_set_log = Table(
    "rule_set_log",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("name", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("action", Text, nullable=False),
    Column("note", Text, nullable=False, server_default=""),
    Column("actor", Text, nullable=False),
    now("at"),
    CheckConstraint("action IN ('saved', 'activated', 'archived')", name="action"),
    Index("ix_rule_set_log_name", "name", "id"),
)
