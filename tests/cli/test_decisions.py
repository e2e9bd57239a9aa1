"""Decisions from the command line: shown, questioned and replayed, on a real database."""

import asyncio
import base64
import json
import os
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from cli import app as entry
from domain.errors import Invalid, NotFound
from domain.orders import Order
from domain.sourcing.answers import ASKED
from domain.sourcing.problem import Decision
from domain.sourcing.solver import solve
from storage import cooling, database, decisions, records
from storage.database import transaction
from tests.domain.sourcing.brute import seeded
from tests.domain.sourcing.test_record import crowded, with_surroundings
from tests.samples import a_change, an_order


@pytest.fixture
def settings(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSDOCK_DATABASE_URL", postgres_url)
    monkeypatch.setenv("CROSSDOCK_KEYS", f'{{"k1": "{base64.b64encode(bytes(32)).decode()}"}}')
    monkeypatch.setenv("CROSSDOCK_ACTIVE_KEY", "k1")
    monkeypatch.setenv("CROSSDOCK_SESSION_SECRET", "a long enough secret")
    asyncio.run(_decided(postgres_url))


async def _decided(url: str) -> None:
    engine = database.engine(url)
    async with transaction(engine) as conn:
        await conn.execute(text("TRUNCATE decisions, decision_pieces"))
        for number in range(3):
            problem = crowded(seeded(number), f"web-{number}")
            await decisions.store(conn, with_surroundings(solve(problem, f"web-{number}/1")))
    await engine.dispose()


def say(*words: str) -> Result:
    return CliRunner().invoke(entry.app, ["decision", *words], env={**os.environ, "COLUMNS": "200"})


@pytest.mark.usefixtures("settings")
def test_a_decision_is_shown_with_its_answers() -> None:
    shown = say("show", "web-1")
    assert shown.exit_code == 0
    assert "web-1/1" in shown.output
    assert all(asked in shown.output for asked in ASKED.values())
    [told] = json.loads(say("show", "web-1/1", "--json").output)
    assert told["stored"]["record"]["decision"]["decision_id"] == "web-1/1"
    assert isinstance(say("show", "web-9").exception, NotFound)


@pytest.mark.usefixtures("settings")
def test_an_order_that_cools_down_says_until_when_it_waits(postgres_url: str) -> None:
    until = asyncio.run(_cooling(postgres_url, an_order("cools")))
    for words in (("show", "web-cools"), ("why", "web-cools"), ("replay", "web-cools")):
        told = str(say(*words).exception)
        assert told.startswith(f"web-cools is not decided yet: it waits until {until}")

    asyncio.run(_stored(postgres_url, "web-cools", lambda decision: decision))
    assert say("show", "web-cools").exit_code == 0


@pytest.mark.usefixtures("settings")
def test_why_not_from_a_node_and_from_all() -> None:
    told = json.loads(say("why", "web-1", "--json").output)
    assert len(told) >= 15
    assert all(one["change"] for one in told)
    one = say("why", "web-1", "--node", told[0]["node"])
    assert one.output.startswith(told[0]["text"])
    assert isinstance(say("why", "web-1", "--node", "NOWHERE").exception, NotFound)
    assert isinstance(say("why", "web-1", "--round", "7").exception, NotFound)


@pytest.mark.usefixtures("settings")
def test_all_replay() -> None:
    report = json.loads(say("replay", "--all", "--json").output)
    assert (report["ok"], report["decisions"], report["differing"]) == (True, 3, 0)
    assert report["differences"] == []
    assert say("replay", "web-1").output == "1 decision, 0 differ\n"
    assert isinstance(say("replay").exception, Invalid)


@pytest.mark.usefixtures("settings")
def test_one_that_comes_out_otherwise_is_named_with_the_version_that_decided_it(
    postgres_url: str,
) -> None:
    def another(decision: Decision) -> Decision:
        versions = {"numpy": "1.0"}
        return decision.model_copy(update={"gap_minor": 1, "solver_versions": versions})

    asyncio.run(_stored(postgres_url, "web-7", another))
    told = say("replay", "--all")
    assert told.exit_code == 1
    assert "web-7/1: gap_minor differs: decided by other versions (numpy 1.0 → " in told.output
    assert "1 by another version: numpy 1.0 → " in told.output
    assert "4 decisions, 1 differs" in told.output


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE decisions SET body = jsonb_set(body, '{plan,cost,shipping}', '1')", "columns"),
        ("UPDATE decisions SET cost_minor = 1", "columns"),
        ("UPDATE decisions SET own = set_byte(own, 40, 7)", "its bytes are not as recorded"),
        ("UPDATE decisions SET pieces = ARRAY[digest]", "is gone"),
        ("UPDATE decision_pieces SET body = set_byte(body, 0, 7)", "is not as recorded"),
    ],
)
@pytest.mark.usefixtures("settings")
def test_one_that_was_altered_is_named_and_the_others_are_replayed(
    postgres_url: str, change: str, reason: str
) -> None:
    where = " WHERE order_id = 'web-2'" if "UPDATE decisions" in change else ""
    asyncio.run(_altered(postgres_url, change + where))
    report = json.loads(say("replay", "--all", "--json").output)
    assert (report["ok"], report["decisions"]) == (False, 3)
    named = {one["decision_id"]: one for one in report["differences"]}
    assert set(named) == ({"web-2/1"} if where else {"web-0/1", "web-1/1", "web-2/1"})
    assert named["web-2/1"]["parts"] == ["record"]
    assert reason in named["web-2/1"]["hint"]
    assert "restore it from a backup" in named["web-2/1"]["hint"]
    told = say("replay", "--all")
    assert told.exit_code == 1
    assert "web-2/1: record differs" in told.output
    assert isinstance(say("replay", "web-2").exception, NotFound)


async def _cooling(url: str, order: Order) -> str:
    engine = database.engine(url)
    async with transaction(engine) as conn:
        await conn.execute(text("TRUNCATE orders CASCADE"))
        await records.accept(conn, order, "run", a_change(order))
        request = {"order_id": order.order_id, "round": 1}
        until = await cooling.enter(conn, "calm@1/all", timedelta(hours=1), request)
    await engine.dispose()
    return f"{until:%Y-%m-%d %H:%M:%S} UTC"


async def _stored(url: str, order_id: str, changed: Callable[[Decision], Decision]) -> None:
    engine = database.engine(url)
    async with transaction(engine) as conn:
        decision = changed(solve(crowded(seeded(7), order_id), f"{order_id}/1"))
        await decisions.store(conn, with_surroundings(decision))
    await engine.dispose()


async def _altered(url: str, change: str) -> None:
    engine = database.engine(url)
    async with transaction(engine) as conn:
        await conn.execute(text("SET LOCAL crossdock.repair = 'a lie'"))
        await conn.execute(text(change))
    await engine.dispose()
