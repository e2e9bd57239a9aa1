"""What every table is made with: the names of constraints, and columns that many have."""

from typing import Any

from sqlalchemy import (
    Column,
    DateTime,
    Integer,
    MetaData,
    Text,
    func,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

INSTANT = DateTime(timezone=True)


def now(name: str) -> Column[object]:
    return Column(name, INSTANT, nullable=False, server_default=func.now())


# Work is open until `done_at` or `dead_at` is set. `claimed_until` ends the lease of its worker.
OPEN = text("done_at IS NULL AND dead_at IS NULL")


def work() -> tuple[Column[Any], ...]:
    return (
        now("due_at"),
        Column("claimed_until", INSTANT),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("error", Text, nullable=False, server_default=""),
        Column("note", Text, nullable=False, server_default=""),
        Column("done_at", INSTANT),
        Column("dead_at", INSTANT),
    )
