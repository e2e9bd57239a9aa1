"""Shadow prices from the command line: fitted, listed, shown and switched, on a real database."""

import asyncio
import base64
import json

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from cli import app as entry
from storage import database, prices
from storage.database import transaction
from tests.api.test_prices import EVIDENCE, a_book


@pytest.fixture
def book(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A book that holds; its version."""
    monkeypatch.setenv("CROSSDOCK_DATABASE_URL", postgres_url)
    monkeypatch.setenv("CROSSDOCK_KEYS", f'{{"k1": "{base64.b64encode(bytes(32)).decode()}"}}')
    monkeypatch.setenv("CROSSDOCK_ACTIVE_KEY", "k1")
    monkeypatch.setenv("CROSSDOCK_SESSION_SECRET", "a long enough secret")
    return asyncio.run(_kept(postgres_url))


async def _kept(url: str) -> str:
    engine = database.engine(url)
    async with transaction(engine) as conn:
        await conn.execute(text("TRUNCATE price_books, price_log, decisions, audit_passes"))
        version = await prices.keep(conn, a_book(), 0.2, 400, EVIDENCE)
        await prices.settle(conn, version, "pricing", "saves 2.50% on 80 orders")
    await engine.dispose()
    return version


def crossdock(*asked: str) -> Result:
    return CliRunner().invoke(entry.app, ["prices", *asked])


def test_prices_are_listed_shown_switched_and_fitted(book: str) -> None:
    assert f"on: {book[:12]}" in crossdock("list").output
    shown = crossdock("show", book[:8]).output
    assert "poisson-tail" in shown
    assert "2.50%" in shown

    assert "peak week" in crossdock("off", "--note", "peak week").output
    told = json.loads(crossdock("list", "--json").output)
    assert (told["state"]["on"], told["state"]["version"]) == (False, None)
    assert [entry["action"] for entry in told["history"]] == ["off", "activated"]
    assert json.loads(crossdock("fit", "--json").output)["outcome"] == "off"

    assert f"on: {book[:12]}" in crossdock("on").output
    assert json.loads(crossdock("fit", "--json").output)["outcome"] == "few"
    assert crossdock("show", "0" * 12).exit_code != 0
