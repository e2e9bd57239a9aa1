"""Repairs from the command line: listed, made and refused, on a real database."""

import asyncio
import base64
import os

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from activities.auditing import mend
from cli import app as entry
from cli.audit import AuditReport, Checked
from cli.commands import auditing
from cli.settings import load
from domain.errors import Invalid
from storage import database, network, stock
from storage.database import transaction
from storage.repairs import POLICIES
from tests.samples import a_node


@pytest.fixture
def settings(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSDOCK_DATABASE_URL", postgres_url)
    monkeypatch.setenv("CROSSDOCK_KEYS", f'{{"k1": "{base64.b64encode(bytes(32)).decode()}"}}')
    monkeypatch.setenv("CROSSDOCK_ACTIVE_KEY", "k1")
    monkeypatch.setenv("CROSSDOCK_SESSION_SECRET", "a long enough secret")


async def _spoilt(url: str, sku: str) -> int:
    """A shelf altered by hand; the number of its proposal."""
    engine = database.engine(url)
    async with transaction(engine) as conn:
        await network.put_node(conn, a_node("DC-A"))
        await stock.receive(conn, sku, "DC-A", [(sku, 7)], "receipt", "test")
    async with transaction(engine) as conn:
        await conn.execute(text("SET LOCAL application_name = 'psql'"))
        await conn.execute(text("UPDATE stock SET on_hand = 8 WHERE sku = :sku"), {"sku": sku})
    [repair] = await mend(engine, POLICIES, [sku])
    await engine.dispose()
    return repair.id


def say(*words: str) -> Result:
    return CliRunner().invoke(entry.app, ["repairs", *words], env={**os.environ, "COLUMNS": "200"})


@pytest.mark.usefixtures("settings")
def test_a_proposal_is_listed_and_made(postgres_url: str) -> None:
    number = asyncio.run(_spoilt(postgres_url, "A"))
    shown = say("list", "--status", "proposed")
    assert "stock A DC-A" in shown.output
    assert "on_hand 8" in shown.output
    made = say("apply", str(number))
    assert (made.exit_code, made.output) == (0, f"repair {number}, stock A DC-A: applied\n")
    assert "stock A DC-A" not in say("list", "--status", "proposed").output
    assert isinstance(say("refuse", str(number)).exception, Exception)
    assert isinstance(say("list", "--status", "odd").exception, Invalid)


@pytest.mark.usefixtures("settings")
def test_a_proposal_is_refused(postgres_url: str) -> None:
    number = asyncio.run(_spoilt(postgres_url, "B"))
    said = say("refuse", str(number), "--note", "eight it is")
    assert said.output == f"repair {number}, stock B DC-A: refused\n"


@pytest.mark.usefixtures("settings")
def test_an_audit_may_mend_first(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSDOCK_REPAIRS", '{"stock": "apply"}')
    asyncio.run(_spoilt(postgres_url, "C"))

    async def nothing() -> AuditReport:
        return AuditReport(findings=(), checked=Checked())

    monkeypatch.setattr(auditing, "_audit", nothing)  # it asks Temporal too
    said = CliRunner().invoke(entry.app, ["audit", "--repair"])
    assert "stock C DC-A: is to be 7 on hand" in said.output
    assert said.output.endswith(": applied \n0 findings\n")
    assert said.exit_code == 0


@pytest.mark.usefixtures("settings")
def test_a_policy_is_of_a_table_that_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSDOCK_REPAIRS", '{"stock": "apply"}')
    assert load().policies() == {**POLICIES, "stock": "apply"}
    monkeypatch.setenv("CROSSDOCK_REPAIRS", '{"stok": "apply"}')
    with pytest.raises(Invalid, match="stok is none of allocation_lines"):
        load().policies()
