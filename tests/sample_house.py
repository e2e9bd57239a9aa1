"""The sample network in a database of a test's own."""

from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cli import sample
from storage import network, stock
from storage.database import transaction
from storage.tables import metadata

NETWORK: Final = sample.network()


async def furnish(engine: AsyncEngine) -> None:
    """Empty every table, then put the sample network there with all its stock, committed."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    async with transaction(engine) as conn:
        await conn.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        for node in NETWORK.nodes:
            await network.put_node(conn, node)
        await network.put_products(conn, NETWORK.products)
        await network.put_rate_cards(conn, NETWORK.rate_cards)
        for node in NETWORK.nodes:
            lines = [(sku, units) for (sku, at), units in NETWORK.stock.items() if at == node.code]
            if lines := [line for line in lines if line[1]]:
                await stock.receive(conn, "sample", node.code, lines, "sample", "test")
