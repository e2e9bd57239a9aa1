"""A small network in an empty database."""

from collections.abc import Mapping

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from storage import network, stock
from storage.database import transaction
from storage.tables import metadata
from tests.samples import a_node

NODES = ("DC-A", "DC-B", "ST-C")


@pytest.fixture
async def world(engine: AsyncEngine) -> AsyncEngine:
    """Three online nodes and nothing else; committed, and emptied before each test."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    async with transaction(engine) as conn:
        await conn.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        for code in NODES:
            await network.put_node(conn, a_node(code))
    return engine


async def stocked(engine: AsyncEngine, shelves: Mapping[tuple[str, str], int]) -> None:
    async with transaction(engine) as conn:
        for (sku, node), quantity in shelves.items():
            await stock.receive(conn, f"{sku}@{node}", node, [(sku, quantity)], "receipt", "test")
