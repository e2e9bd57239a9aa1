"""
The usual ways to reserve stock in SQL, as lean as the driver allows, for benchmarks to measure.

Each order is one transaction and awaits its commit. None has keys, tombstones or a ledger.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg

_SCHEMA: Final = b"""
CREATE SCHEMA rival;
CREATE TABLE rival.pool (sku text PRIMARY KEY, available integer NOT NULL);
CREATE TABLE rival.reservations (order_id text, sku text, quantity integer NOT NULL,
  PRIMARY KEY (order_id, sku));
CREATE TABLE rival.units (id bigint PRIMARY KEY, sku text NOT NULL, order_id text);
CREATE INDEX ON rival.units (sku, id) WHERE order_id IS NULL;
CREATE TABLE rival.ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, sku text NOT NULL,
  quantity integer NOT NULL, order_id text);
CREATE INDEX ON rival.ledger (sku) INCLUDE (quantity);
"""
_CONDITIONAL: Final = (
    "WITH taken AS (UPDATE rival.pool SET available = available - 1"
    " WHERE sku = %s AND available >= 1 RETURNING sku)"
    " INSERT INTO rival.reservations SELECT %s, sku, 1 FROM taken"
)
_UPDATE: Final = "UPDATE rival.pool SET available = available - 1 WHERE sku = %s AND available >= 1"
_INSERT: Final = "INSERT INTO rival.reservations VALUES (%s, %s, 1)"
_CONDITIONAL_LINES: Final = (
    "WITH taken AS (UPDATE rival.pool SET available = available - 1"
    " WHERE sku = ANY (%s) AND available >= 1 RETURNING sku),"
    " kept AS (INSERT INTO rival.reservations SELECT %s, sku, 1 FROM taken RETURNING sku)"
    " SELECT 1 / (count(*) = %s)::integer FROM kept"  # all or none: an error undoes it
)
_UNIT_ROW: Final = (
    "UPDATE rival.units SET order_id = %s WHERE id = (SELECT id FROM rival.units"
    " WHERE sku = %s AND order_id IS NULL ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)"
)
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext(%s))"
_SUM: Final = (
    "INSERT INTO rival.ledger (sku, quantity, order_id) SELECT %s, -1, %s"
    " WHERE (SELECT sum(quantity) FROM rival.ledger WHERE sku = %s) >= 1"
)


class Rivals:
    """Connections are opened once; `width` is how many of them are in use."""

    widths: Final = (4, 8, 16, 32)

    def __init__(self, url: str) -> None:
        self._url = url
        self._all: list[psycopg.AsyncConnection[Any]] = []
        self._free: asyncio.LifoQueue[psycopg.AsyncConnection[Any]] = asyncio.LifoQueue()

    async def open(self, skus: Sequence[str], each: int, *, units: int) -> None:
        """Make the tables: so many of each SKU, and unit rows of the first one."""
        for _ in range(max(self.widths)):
            conn = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
            conn.prepare_threshold = 0
            self._all.append(conn)
        first = self._all[0]
        await first.execute(_SCHEMA, prepare=False)
        await first.execute(
            "INSERT INTO rival.pool SELECT unnest(%s::text[]), %s", (list(skus), each)
        )
        await first.execute(
            "INSERT INTO rival.units SELECT n, %s FROM generate_series(1, %s) AS n",
            (skus[0], units),
        )
        await first.execute(
            "INSERT INTO rival.ledger (sku, quantity) VALUES (%s, %s)", (skus[0], each)
        )
        await first.execute("VACUUM ANALYZE", prepare=False)
        self.use(max(self.widths))

    async def close(self) -> None:
        for conn in self._all:
            await conn.close()

    def use(self, width: int) -> None:
        """How many connections its callers share."""
        self._free = asyncio.LifoQueue()
        for conn in self._all[:width]:
            self._free.put_nowait(conn)

    async def conditional(self, order_id: str, skus: Sequence[str]) -> bool:
        """A conditional UPDATE and an INSERT, in one statement that is its own transaction."""
        async with self._connection() as conn:
            return (await conn.execute(_CONDITIONAL, (skus[0], order_id))).rowcount == 1

    async def two_statements(self, order_id: str, skus: Sequence[str]) -> bool:
        """The same as it is mostly written: a transaction of two statements."""
        async with self._connection() as conn, conn.transaction():
            taken = (await conn.execute(_UPDATE, (skus[0],))).rowcount == 1
            if taken:
                await conn.execute(_INSERT, (order_id, skus[0]))
        return taken

    async def conditional_lines(self, order_id: str, skus: Sequence[str]) -> bool:
        async with self._connection() as conn:
            await conn.execute(_CONDITIONAL_LINES, (list(skus), order_id, len(skus)))
        return True

    async def unit_rows(self, order_id: str, skus: Sequence[str]) -> bool:
        """A row for each unit: everyone takes the first that nobody else has locked."""
        async with self._connection() as conn:
            return (await conn.execute(_UNIT_ROW, (order_id, skus[0]))).rowcount == 1

    async def ledger_sum(self, order_id: str, skus: Sequence[str]) -> bool:
        """Only movements: what is there is their sum, read under a lock."""
        async with self._connection() as conn, conn.pipeline(), conn.transaction():
            await conn.execute(_LOCK, (skus[0],))
            done = await conn.execute(_SUM, (skus[0], order_id, skus[0]))
        return done.rowcount == 1

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        free = self._free
        conn = await free.get()
        try:
            yield conn
        finally:
            free.put_nowait(conn)
