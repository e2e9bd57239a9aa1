"""The schema goes back and forth under rows, and what is left of them is true."""

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import audit, database, network
from storage.database import transaction
from tests.storage.test_everything import CATALOGUE, Days


def back(url: str, to: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    driver = url.replace("postgresql:", "postgresql+psycopg:")
    engine = create_engine(driver, connect_args={"application_name": database.NAME})
    with engine.begin() as conn:
        config.attributes["connection"] = conn
        command.downgrade(config, to)
    engine.dispose()


@pytest.mark.parametrize("to", ["0011", "0010", "0007"])
async def test_what_went_back_and_came_again_is_true(
    world: AsyncEngine, postgres_url: str, to: str
) -> None:
    async with transaction(world) as conn:
        await network.put_products(conn, CATALOGUE)
    days = Days(world, 7)
    for _ in range(50):
        await days.step()
    await world.dispose()
    back(postgres_url, to)
    database.migrate(postgres_url)
    async with transaction(world) as conn:
        assert [f for f in await audit.audit(conn) if f.invariant in {1, 2, 5}] == []
