"""A load of many rows, wrong ones among them, killed midway: it goes on where it ended."""

import asyncio
import base64
import csv
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.network import Calendar, Node, NodeKind, Product
from storage import audit, network, stock
from storage.database import transaction

NODES = tuple(f"DC-{number:02}" for number in range(20))
SKUS = tuple(f"SKU-{number:04}" for number in range(1000))
ROOT = Path(__file__).parents[2]
WRONG = {
    5: (b"NO-SUCH,DC-01,5", "sku", "no product or alias NO-SUCH"),
    50: (b"SKU-0001,DC-99,5", "node", "no node DC-99"),
    500: (b"SKU-0001,DC-01,-5", "on_hand", "below zero"),
    5000: (b"SKU-0001,DC-01", "", "2 fields where the header has 3"),
    15000: (b"SKU-\xff,DC-01,1", "", "not UTF-8"),
    19000: (b"SKU-0000,DC-00,99", "sku", "stands on line 2 already"),
    19001: (b"ean:0000,DC-00,98", "sku", "stands on line 2 already"),
}


@pytest.fixture
async def shop(engine: AsyncEngine) -> AsyncEngine:
    async with transaction(engine) as conn:
        for code in NODES:
            node = Node(
                code=code,
                name=code,
                kind=NodeKind.DC,
                postal_code="75201",
                latitude=32.78,
                longitude=-96.8,
                calendar=Calendar(timezone="America/Chicago"),
            )
            await network.put_node(conn, node)
        products = [Product(sku=sku, aliases=(f"ean:{sku[-4:]}",)) for sku in SKUS]
        await network.put_products(conn, products)
    return engine


def write(file: Path) -> None:
    """Twenty thousand shelves of seven units each, with the wrong lines between them."""
    lines = [b"sku,node,on_hand", *(f"{s},{n},7".encode() for n in NODES for s in SKUS)]
    for number in sorted(WRONG):
        lines.insert(number - 1, WRONG[number][0])
    file.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines))


@asynccontextmanager
async def loading(url: str, file: Path, *more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = os.environ | {
        "CROSSDOCK_DATABASE_URL": url,
        "CROSSDOCK_KEYS": f'{{"k1": "{base64.b64encode(bytes(32)).decode()}"}}',
        "CROSSDOCK_ACTIVE_KEY": "k1",
        "CROSSDOCK_SESSION_SECRET": "a session secret for tests",
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", "stock", "load", str(file), *more),
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def load(url: str, file: Path, *more: str) -> tuple[int | None, str]:
    """Exit code and what it said."""
    async with loading(url, file, *more) as process:
        said, _ = await process.communicate()
    return process.returncode, said.decode()


async def number(engine: AsyncEngine, query: str) -> int:
    async with transaction(engine) as conn:
        found: int = (await conn.execute(text(query))).scalar_one()
    return found


async def becomes(engine: AsyncEngine, query: str, wanted: int) -> None:
    while await number(engine, query) != wanted:  # noqa: ASYNC110 - the database has no event
        await asyncio.sleep(0.05)


async def units(engine: AsyncEngine, sku: str, node: str) -> int:
    async with transaction(engine) as conn:
        (level,) = await stock.levels(conn, skus=[sku], node=node)
    return level.on_hand


async def clean(engine: AsyncEngine) -> None:
    async with transaction(engine) as conn:
        assert await audit.audit(conn) == ()


COUNTED = "SELECT count(*) FROM stock WHERE counted_by LIKE 'load:%'"
RUNNING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"


@pytest.mark.long
async def test_a_killed_load_goes_on_and_keeps_all_good_rows(
    shop: AsyncEngine, postgres_url: str, tmp_path: Path
) -> None:
    file, report = tmp_path / "stock.csv", tmp_path / "wrong.csv"
    write(file)
    async with transaction(shop) as conn:
        await stock.receive(conn, "r", "DC-00", [("SKU-0999", 1)], "received", "test")
    async with shop.connect() as blocker, loading(postgres_url, file) as process:
        # the second half is not let in, so that the load stands still between two commits
        await blocker.execute(text("SELECT FROM pool WHERE sku = 'SKU-0999' FOR UPDATE"))
        await becomes(shop, COUNTED, 10_000)
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await blocker.rollback()
    await becomes(shop, RUNNING, 0)
    assert await number(shop, COUNTED) == 10_000
    await clean(shop)
    async with transaction(shop) as conn:  # what comes in meanwhile is on top of the file
        lines = [("SKU-0000", 3), ("SKU-0999", 3)]
        await stock.receive(conn, "m", "DC-00", lines, "received", "test")
        await stock.count(conn, "c", "DC-00", [("SKU-0998", 1)], "test")

    code, said = await load(postgres_url, file, "--report", str(report))

    assert code == 1
    assert "going on where it ended: 19999 applied, 1 counted later by others, 7 rejected" in said
    with report.open(newline="") as opened:
        told = list(csv.DictReader(opened))
    assert [(int(row["line"]), row["field"]) for row in told] == [
        (line, field) for line, (_, field, _) in sorted(WRONG.items())
    ]
    assert all(WRONG[int(row["line"])][2] in row["message"] for row in told)
    assert await number(shop, "SELECT count(*) FROM stock") == 20_000
    assert await number(shop, "SELECT sum(on_hand) FROM stock") == 20_000 * 7 - 6 + 3 + 3
    assert await units(shop, "SKU-0000", "DC-00") == 10
    assert await units(shop, "SKU-0999", "DC-00") == 10
    assert await units(shop, "SKU-0998", "DC-00") == 1
    await clean(shop)

    refused, why = await load(postgres_url, file)
    assert (refused, "was loaded before" in why) == (1, True)
    again, said = await load(postgres_url, file, "--again", "--report", str(report))
    assert (again, "20000 applied" in said) == (1, True)
    assert await number(shop, "SELECT sum(on_hand) FROM stock") == 20_000 * 7
    await clean(shop)
