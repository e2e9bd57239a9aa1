"""The schema is what the migrations build, and the database's failures are outages."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.errors import Outage, Refused
from storage import database
from storage.tables import api_keys, metadata, rate_cards


async def test_the_migrations_build_the_tables_and_nothing_else(conn: AsyncConnection) -> None:
    def difference(sync: Connection) -> list[object]:
        context = MigrationContext.configure(sync, opts={"compare_server_default": True})
        return list(compare_metadata(context, metadata))

    assert await conn.run_sync(difference) == []


def test_several_may_migrate_at_once(postgres_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(database.migrate, [postgres_url] * 4))


async def test_a_read_only_engine_writes_nothing(postgres_url: str) -> None:
    engine = database.engine(postgres_url, read_only=True)
    with pytest.raises(DBAPIError):
        async with database.transaction(engine) as conn:
            await conn.execute(rate_cards.insert().values(service="x", body={}))
    async with database.transaction(engine) as conn:
        assert (await conn.execute(select(api_keys))).all() == []
    await engine.dispose()


async def test_what_a_failed_statement_was_given_is_not_told(engine: AsyncEngine) -> None:
    with pytest.raises(DBAPIError) as failed:
        async with database.transaction(engine) as conn:
            await conn.execute(text("SELECT CAST(:name AS text) FROM nothing"), {"name": "Ada"})

    assert "Ada" not in str(failed.value)


async def test_a_number_that_no_column_holds_is_refused(engine: AsyncEngine) -> None:
    with pytest.raises(Refused) as refused:
        async with database.transaction(engine) as conn:
            await conn.execute(text("SELECT 2147483647 + CAST(:more AS integer)"), {"more": 1})

    assert refused.value.code == "too_large_number"


async def test_a_database_that_is_not_there_is_an_outage() -> None:
    engine = database.engine("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(Outage, match="postgres") as outage:
        async with database.transaction(engine) as conn:
            await database.ping(conn)
    assert outage.value.system == "postgres"
    with pytest.raises(Outage):
        database.migrate("postgresql://nobody@127.0.0.1:1/none")


async def test_a_session_that_the_server_ends_is_an_outage_and_the_next_one_works(
    postgres_url: str, engine: AsyncEngine
) -> None:
    victim = database.engine(postgres_url, size=1)
    with pytest.raises(Outage):  # noqa: PT012 - the session ends midway
        async with database.transaction(victim) as conn:
            pid = (await conn.execute(text("SELECT pg_backend_pid()"))).scalar_one()
            async with database.transaction(engine) as killer:
                await killer.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            await database.ping(conn)
    async with database.transaction(victim) as conn:
        await database.ping(conn)
    await victim.dispose()


async def test_a_full_pool_is_an_outage(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = database.engine(postgres_url, size=1)
    monkeypatch.setattr(engine.sync_engine.pool, "_timeout", 0.1)
    async with database.transaction(engine):
        with pytest.raises(Outage):
            async with database.transaction(engine):
                pass
    await engine.dispose()


async def test_json_may_hold_what_partners_send(conn: AsyncConnection) -> None:
    body = {"nul": "a\0b", "escaped": "a\\u0000b", "unicode": "héé😀"}
    await conn.execute(rate_cards.insert().values(service="odd", body=body))
    stored = (await conn.execute(select(rate_cards.c.body))).scalar_one()
    assert stored == {**body, "nul": "ab"}
