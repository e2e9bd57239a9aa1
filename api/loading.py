"""Loads a file of stock rows, for the API and the command line: of any size, in little memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Collection, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import IO, Final

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from api.intake import wake_backordered
from domain.stock_rows import LONGEST_LINE, BadRow, Format, StockRow, rows
from domain.values import Value
from storage import bulk
from storage.bulk import Load
from storage.database import outages

# A chunk locks its SKUs while it is merged: half a second, not more.
_CHUNK: Final = 10_000
_BATCH: Final = 20_000
_WAKE: Final = 200


class Loaded(Value):
    """
    What became of a file. `applied` shelves stand as it says; `newer` ones were counted later by
    someone else and stay; `rejected` rows were wrong. `resumed`: it was begun before.
    """

    digest: str
    as_of: datetime
    rows: int
    applied: int
    newer: int
    rejected: int
    resumed: bool
    woken: int


class Listener:
    """Hears of a load as it goes; this one says nothing."""

    def staged(self, position: int) -> None:
        """So many bytes of the file are read."""

    def rejected(self, row: BadRow) -> None:
        """A row is wrong; by line, before anything is merged."""

    def merged(self, done: int, good: int) -> None:
        """So many of the good rows are done."""


async def load(  # noqa: PLR0913 - what a load may be asked
    engine: AsyncEngine,
    file: IO[bytes],
    form: Format,
    *,
    name: str,
    actor: str,
    listener: Listener,
    nodes: Collection[str] | None = None,
    as_of: datetime | None = None,
    again: bool = False,
) -> Loaded:
    """
    Load a file, or go on with it where a load of the same bytes ended midway.

    Rows that are wrong are told and left out, all others are kept. With `nodes` only these are
    known. Raises Invalid where the file's header cannot be read, and what `bulk.begin` raises.
    """
    digest = await asyncio.to_thread(_digest, file, form, nodes)
    read = rows(_lines(file), form)
    batch = await asyncio.to_thread(_next, read)
    async with outages(), engine.connect() as conn:
        try:
            async with conn.begin():
                load = await bulk.begin(conn, digest, name, actor, as_of=as_of, again=again)
            while batch:
                async with conn.begin():
                    await bulk.stage(conn, batch)
                listener.staged(file.tell())
                batch = await asyncio.to_thread(_next, read)
            return await _merge(conn, load, nodes, listener)
        finally:
            # the session's lock and its tables go with it, however this ends
            with suppress(DBAPIError):
                await conn.invalidate()


async def _merge(
    conn: AsyncConnection, load: Load, nodes: Collection[str] | None, listener: Listener
) -> Loaded:
    async with conn.begin():
        judged = await bulk.judge(conn, nodes)
        async for row in bulk.rejected(conn):
            listener.rejected(row)
    applied = newer = 0
    for after in range(0, judged.good, _CHUNK):
        upto = min(after + _CHUNK, judged.good)
        async with conn.begin():
            merged = await bulk.merge(conn, load, after, upto)
        applied, newer = applied + merged.applied, newer + merged.newer
        listener.merged(upto, judged.good)
    async with conn.begin():
        wanted = await bulk.end(conn, load)
        woken = 0
        for start in range(0, len(wanted), _WAKE):
            few = wanted[start : start + _WAKE]
            woken += await wake_backordered(conn, few, f"{load.stated_by}:{load.at.isoformat()}")
    return Loaded(
        digest=load.digest,
        as_of=load.at,
        rows=judged.rows,
        applied=applied,
        newer=newer,
        rejected=judged.rows - judged.good,
        resumed=load.resumed,
        woken=woken,
    )


def _next(read: Iterator[StockRow | BadRow]) -> list[StockRow | BadRow]:
    return list(islice(read, _BATCH))


def _digest(file: IO[bytes], form: Format, nodes: Collection[str] | None) -> str:
    """Of what is in the file, how it is read, and what of it may be."""
    file.seek(0)
    found = hashlib.sha256(repr((form, nodes if nodes is None else sorted(nodes))).encode())
    while part := file.read(1 << 20):
        found.update(part)
    file.seek(0)
    return found.hexdigest()


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    """Each line; of one that is far too long only a part that is too long as well."""
    while line := file.readline(LONGEST_LINE + 2):
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(LONGEST_LINE + 2)
        yield line
