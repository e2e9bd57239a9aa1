"""The door to Postgres: engines, transactions, migrations, and what counts as its outage."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from psycopg.errors import NumericValueOutOfRange
from pydantic_core import from_json, to_json
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    InterfaceError,
    OperationalError,
    PendingRollbackError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from domain.errors import Outage, Refused

_MIGRATIONS: Final = Path(__file__).parent / "migrations"
_MIGRATION_LOCK: Final = 7_217_001  # any number, the same in every process that migrates
# By it the database knows the product's own writes: see `keep_copy` in migration 0010.
NAME: Final = "crossdock"
_NUL: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")


def engine(url: str, *, size: int = 10, read_only: bool = False) -> AsyncEngine:
    """
    A pool of at most `size` connections to a `postgresql://` url; connects at first use.

    JSON columns take pydantic values as they are. Sessions run in UTC; a read-only engine can write
    nothing. What a failed statement was given, customers' names among it, stays out of the logs.
    """
    settings = ["timezone=UTC", "statement_timeout=30s", "idle_in_transaction_session_timeout=60s"]
    if read_only:
        settings.append("default_transaction_read_only=on")
    return create_async_engine(
        _normal(url),
        pool_size=size,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=False,
        json_serializer=_json,
        json_deserializer=from_json,
        hide_parameters=True,
        connect_args={
            "connect_timeout": 3,
            "application_name": NAME,
            "tcp_user_timeout": 10_000,
            "options": " ".join(f"-c {setting}" for setting in settings),
        },
    )


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """One transaction: committed at the end, rolled back on error. Raises as `outages` does."""
    async with outages(), engine.begin() as conn:
        yield conn


@asynccontextmanager
async def outages() -> AsyncIterator[None]:
    """
    Failures of the database rather than of the statement become Outage("postgres").

    A number that no column can hold is Refused: trying again cannot help.
    """
    try:
        yield
    # The last of these follows a session that died while a savepoint was undone.
    except (OperationalError, InterfaceError, PoolTimeout, PendingRollbackError) as error:
        raise Outage("postgres", f"is unavailable: {_first_line(error)}") from error
    except DataError as error:
        if not isinstance(error.orig, NumericValueOutOfRange):
            raise
        message = "a number, or a sum that it leads to, is larger than can be kept"
        raise Refused(message, code="too_large_number") from error
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
        raise Outage("postgres", f"is unavailable: {_first_line(error)}") from error


async def ping(conn: AsyncConnection) -> None:
    await conn.execute(text("SELECT 1"))


def migrate(url: str) -> None:
    """Bring the schema to the newest version. Of several callers one works, the others wait."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    as_house = {"connect_timeout": 10, "application_name": NAME, "options": "-c timezone=UTC"}
    sync_engine = create_engine(_normal(url), connect_args=as_house)
    try:
        with sync_engine.begin() as conn:
            conn.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
            config.attributes["connection"] = conn
            command.upgrade(config, "head")
    except (OperationalError, InterfaceError) as error:
        raise Outage("postgres", f"is unavailable: {_first_line(error)}") from error
    finally:
        sync_engine.dispose()


def _normal(url: str) -> str:
    parsed = make_url(url)
    if parsed.drivername in {"postgres", "postgresql"}:
        parsed = parsed.set(drivername="postgresql+psycopg")
    return parsed.render_as_string(hide_password=False)


def _json(value: Any) -> str:
    """JSON as Postgres takes it: without NUL, which its text cannot hold."""
    encoded = to_json(value).decode()
    return _NUL.sub(r"\1", encoded) if "\\u0000" in encoded else encoded


def _first_line(error: Exception) -> str:
    origin = getattr(error, "orig", None) or error
    return (str(origin).strip().splitlines() or [type(origin).__name__])[0]
