import asyncio
import socket
import sqlite3
import sys
import time
from asyncio.subprocess import Process
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors import signing
from connectors.sandbox.config import SandboxConfig
from tests.connectors.sandbox.conftest import NODE_SECRET, STORE_KEY, Listener, Sandbox

EVENTS = "/webhooks/nodes/DC-DAL"


def rows(config: SandboxConfig, sql: str) -> list[tuple[Any, ...]]:
    """What an auditor reads: straight from the file."""
    with sqlite3.connect(config.database) as db:
        return db.execute(sql).fetchall()


async def test_a_request_is_accepted_shipped_and_delivered(
    sandbox: Sandbox, listener: Listener
) -> None:
    assert (await sandbox.ask("o-1-F1")).status_code == 202

    told = await listener.until_event("delivered", "o-1-F1")

    assert told == ["accepted", "shipped", "delivered"]
    shipped = listener.events("o-1-F1")[1]
    assert shipped["lines"] == [{"line_id": "1", "quantity": 2}]
    assert shipped["packages"][0]["tracking_number"].startswith("1Z")
    assert shipped["final"] is True
    left = "SELECT node, fulfillment_id, line_id, sku, quantity FROM node_shipments"
    assert rows(sandbox.config, left) == [("DC-DAL", "o-1-F1", "1", "SKU-0001", 2)]


async def test_events_are_signed_as_the_protocol_says(sandbox: Sandbox, listener: Listener) -> None:
    await sandbox.ask("o-1-F1")

    heard = (await listener.until(1, EVENTS))[0]

    assert signing.verify([NODE_SECRET], heard.headers, heard.raw, now=datetime.now(UTC))
    assert heard.headers["webhook-id"] == heard.body["event_id"]


async def test_the_same_request_is_received_once(sandbox: Sandbox, listener: Listener) -> None:
    answers = await asyncio.gather(*(sandbox.ask("o-1-F1") for _ in range(20)))

    told = await listener.until_event("delivered", "o-1-F1")

    assert {answer.status_code for answer in answers} == {202}
    assert told == ["accepted", "shipped", "delivered"]
    received = rows(sandbox.config, "SELECT times_received FROM node_requests")
    assert received == [(20,)]
    assert (await sandbox.control("GET", "/summary"))["repeats"] == 19


@pytest.mark.parametrize("header", ["webhook-id", "webhook-timestamp", "webhook-signature"])
async def test_a_request_that_is_not_ours_is_refused_and_forgotten(
    sandbox: Sandbox, header: str
) -> None:
    raw = b'{"reason": "x"}'
    headers = signing.sign(NODE_SECRET, "m", datetime.now(UTC), raw)
    path = "/nodes/DC-DAL/fulfillment-requests/o-1-F1/cancel"

    broken = await sandbox.http.post(path, content=raw, headers={**headers, header: "1"})
    changed = await sandbox.http.post(path, content=raw + b" ", headers=headers)

    assert (broken.status_code, changed.status_code) == (401, 401)
    assert rows(sandbox.config, "SELECT * FROM node_requests") == []


async def test_a_body_for_another_node_is_refused(sandbox: Sandbox) -> None:
    body = {"fulfillment_id": "o-1-F1", "order_id": "o-1", "node": "ST-NYC", "method": "ship"}
    lines = [{"line_id": "1", "sku": "A", "quantity": 1}]

    answer = await sandbox.signed(
        "/nodes/DC-DAL/fulfillment-requests", "o-1-F1", {**body, "lines": lines}
    )

    assert answer.status_code == 422


async def test_a_cancel_stops_work_that_has_not_shipped(
    sandbox: Sandbox, listener: Listener
) -> None:
    await sandbox.knob("slow", ms=60_000)
    await sandbox.ask("o-1-F1")
    await listener.until_event("accepted", "o-1-F1")

    answers = [await sandbox.cancel("o-1-F1") for _ in range(2)]

    assert [answer.json()["status"] for answer in answers] == ["cancelled", "cancelled"]
    assert rows(sandbox.config, "SELECT count(*) FROM node_steps") == [(0,)]
    assert (await sandbox.ask("o-1-F1")).status_code == 422


async def test_a_cancel_that_overtakes_its_request_wins(sandbox: Sandbox) -> None:
    cancelled = await sandbox.cancel("o-1-F1")
    late = await sandbox.ask("o-1-F1")
    again = await sandbox.cancel("o-1-F1")

    assert (cancelled.status_code, cancelled.json()["status"]) == (404, "never_received")
    assert late.status_code == 422
    assert again.status_code == 404
    assert rows(sandbox.config, "SELECT status, received_at FROM node_requests") == [
        ("never_received", None)
    ]


async def test_what_has_shipped_cannot_be_cancelled(sandbox: Sandbox, listener: Listener) -> None:
    await sandbox.ask("o-1-F1")
    await listener.until_event("shipped", "o-1-F1")

    answer = await sandbox.cancel("o-1-F1")

    assert (answer.status_code, answer.json()["status"]) == (409, "refused")


async def test_a_knob_with_a_count_bites_so_often(sandbox: Sandbox, listener: Listener) -> None:
    await sandbox.knob("reject", count=1, reason="flooded")

    await sandbox.ask("o-1-F1")
    await sandbox.ask("o-2-F1")

    assert await listener.until_event("rejected", "o-1-F1") == ["rejected"]
    assert listener.events("o-1-F1")[0]["reason"] == "flooded"
    await listener.until_event("delivered", "o-2-F1")


async def test_a_knob_on_a_sku_bites_at_its_node(sandbox: Sandbox, listener: Listener) -> None:
    knobs = {"node": "DC-DAL", "behaviours": [{"behaviour": "refuse_422", "reason": "recalled"}]}
    await sandbox.control("PUT", "/skus/SKU-0001", knobs)

    refused = [await sandbox.ask("o-1-F1") for _ in range(2)]
    elsewhere = await sandbox.ask("o-1-F2", node="ST-NYC")

    assert [answer.status_code for answer in refused] == [422, 422]
    assert refused[0].json() == {"reason": "recalled"}
    assert elsewhere.status_code == 202
    assert (await sandbox.cancel("o-1-F1")).json()["status"] == "cancelled"


async def test_a_silent_node_says_nothing_and_can_be_cancelled_or_woken(
    sandbox: Sandbox, listener: Listener
) -> None:
    await sandbox.knob("silent", count=2)
    await sandbox.ask("o-1-F1")
    await sandbox.ask("o-2-F1")
    await asyncio.sleep(0.1)
    assert listener.heard == []

    cancelled = await sandbox.cancel("o-1-F1")
    moved = await sandbox.control("POST", "/nodes/DC-DAL/release")

    assert cancelled.json()["status"] == "cancelled"
    assert moved == {"moved": 1}
    await listener.until_event("delivered", "o-2-F1")
    assert listener.events("o-1-F1") == []


async def test_a_dead_node_takes_nothing_in(sandbox: Sandbox) -> None:
    await sandbox.knob("dead", count=2)

    answers = [await sandbox.ask("o-1-F1") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 503, 202]


async def test_a_late_node_has_done_it_all_the_same(sandbox: Sandbox, listener: Listener) -> None:
    await sandbox.knob("late", count=1, ms=3000)

    with pytest.raises(httpx.ReadTimeout):
        await asyncio.wait_for(_impatient(sandbox), 2)

    await listener.until_event("delivered", "o-1-F1")
    assert (await sandbox.ask("o-1-F1")).status_code == 202


async def _impatient(sandbox: Sandbox) -> None:
    sandbox.http.timeout = httpx.Timeout(0.3)
    try:
        await sandbox.ask("o-1-F1")
    finally:
        sandbox.http.timeout = httpx.Timeout(5)


async def test_each_event_may_come_twice_under_one_id(sandbox: Sandbox, listener: Listener) -> None:
    await sandbox.knob("twice")
    await sandbox.ask("o-1-F1")

    heard = await listener.until(6, EVENTS)

    assert len({one.body["event_id"] for one in heard}) == 3
    assert rows(sandbox.config, "SELECT sum(quantity) FROM node_shipments") == [(2,)]


async def test_shipped_may_come_before_accepted(sandbox: Sandbox, listener: Listener) -> None:
    await sandbox.knob("out_of_order")
    await sandbox.ask("o-1-F1")

    assert await listener.until_event("delivered", "o-1-F1") == ["shipped", "accepted", "delivered"]


@pytest.mark.parametrize(("quantity", "last", "gone"), [(2, "shipped", 1), (1, "exception", None)])
async def test_a_short_shipment_is_one_unit_fewer(
    sandbox: Sandbox, listener: Listener, quantity: int, last: str, gone: int | None
) -> None:
    await sandbox.knob("short_ship")
    await sandbox.ask("o-1-F1", quantity=quantity)

    assert (await listener.until_event(last, "o-1-F1"))[:2] == ["accepted", last]

    assert rows(sandbox.config, "SELECT sum(quantity) FROM node_shipments") == [(gone,)]
    assert listener.events("o-1-F1")[1].get("final", True) is True


async def test_a_shipment_in_parts_says_that_more_will_come(
    sandbox: Sandbox, listener: Listener
) -> None:
    await sandbox.knob("in_parts")
    await sandbox.ask("o-1-F1", quantity=3)
    await listener.until_event("delivered", "o-1-F1")

    parts = [event for event in listener.events("o-1-F1") if event["type"] == "shipped"]

    assert [part["final"] for part in parts] == [False, True]
    assert [part["lines"][0]["quantity"] for part in parts] == [1, 2]
    assert len({part["packages"][0]["tracking_number"] for part in parts}) == 2


async def test_a_node_may_refuse_to_cancel_and_ship(sandbox: Sandbox, listener: Listener) -> None:
    await sandbox.knob("ships_despite_cancel")
    await sandbox.ask("o-1-F1")

    assert (await sandbox.cancel("o-1-F1")).status_code == 409

    await listener.until_event("delivered", "o-1-F1")


async def test_a_cancel_may_be_answered_later(sandbox: Sandbox, listener: Listener) -> None:
    knobs = [{"behaviour": "slow", "ms": 60_000}, {"behaviour": "cancel_later", "ms": 400}]
    await sandbox.control("PUT", "/nodes/DC-DAL", {"behaviours": knobs})
    await sandbox.ask("o-1-F1")

    answers = [await sandbox.cancel("o-1-F1") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert "shipped" not in await listener.until_event("cancelled", "o-1-F1")
    assert (await sandbox.cancel("o-1-F1")).status_code == 200
    assert len([e for e in listener.events("o-1-F1") if e["type"] == "cancelled"]) == 1


async def test_a_secret_shipment_is_told_late_and_is_past_cancelling(
    sandbox: Sandbox, listener: Listener
) -> None:
    await sandbox.knob("secret_ship", ms=60_000)
    await sandbox.ask("o-1-F1")
    await listener.until_event("accepted", "o-1-F1")

    assert (await sandbox.cancel("o-1-F1")).status_code == 409
    assert rows(sandbox.config, "SELECT sum(quantity) FROM node_shipments") == [(2,)]
    assert "shipped" not in [event["type"] for event in listener.events("o-1-F1")]

    await sandbox.control("POST", "/nodes/DC-DAL/release")
    await listener.until_event("shipped", "o-1-F1")


async def test_a_store_hands_over_only_what_crossdock_lets_go(
    sandbox: Sandbox, listener: Listener
) -> None:
    path = "/v1/fulfillments/o-1-F1/hand-over"
    listener.answers[path] = [500, 200]
    await sandbox.ask("o-1-F1", node="ST-NYC", method="pickup")

    heard = await listener.until(2, path)

    assert heard[0].headers["authorization"] == f"Bearer {STORE_KEY}"
    told = await listener.until_event("ready_for_pickup", "o-1-F1", "ST-NYC")
    assert told == ["accepted", "ready_for_pickup"]
    await until(sandbox.config, "SELECT status FROM node_requests", [("collected",)])
    assert rows(sandbox.config, "SELECT quantity FROM node_shipments") == [(2,)]


async def test_a_refused_hand_over_leaves_the_goods_in_the_store(
    sandbox: Sandbox, listener: Listener
) -> None:
    path = "/v1/fulfillments/o-1-F1/hand-over"
    listener.answers[path] = [409] * 9
    await sandbox.ask("o-1-F1", node="ST-NYC", method="pickup")
    gave_up = "SELECT count(*) FROM outgoing WHERE kind = 'hand_over' AND gave_up_at IS NOT NULL"

    await until(sandbox.config, gave_up, [(1,)])

    assert len(listener.of(path)) == 3
    assert (await sandbox.cancel("o-1-F1", "ST-NYC")).json()["status"] == "cancelled"
    assert rows(sandbox.config, "SELECT * FROM node_shipments") == []


async def test_a_customer_may_never_come(sandbox: Sandbox, listener: Listener) -> None:
    await sandbox.knob("no_show", "ST-NYC")
    await sandbox.ask("o-1-F1", node="ST-NYC", method="pickup")
    await listener.until_event("ready_for_pickup", "o-1-F1", "ST-NYC")
    await asyncio.sleep(0.1)

    assert listener.of("/v1/fulfillments/o-1-F1/hand-over") == []


async def test_an_event_is_sent_until_it_is_taken(sandbox: Sandbox, listener: Listener) -> None:
    listener.answers[EVENTS] = [500, 503, 401]
    await sandbox.ask("o-1-F1")

    await listener.until_event("delivered", "o-1-F1")

    await until(
        sandbox.config, "SELECT count(*), sum(attempts) FROM outgoing WHERE sent_at > ''", [(3, 6)]
    )


async def test_an_event_that_stays_unknown_is_given_up(
    sandbox: Sandbox, listener: Listener
) -> None:
    listener.answers[EVENTS] = [404] * 3
    await sandbox.knob("reject")
    await sandbox.ask("o-1-F1")

    await until(sandbox.config, "SELECT attempts, gave_up_at > '' FROM outgoing", [(3, 1)])

    assert (await sandbox.control("GET", "/summary"))["gave_up"][0]["subject"] == "o-1-F1"


async def test_controls_need_their_token(sandbox: Sandbox) -> None:
    assert (await sandbox.http.get("/_control/summary")).status_code == 401
    assert (await sandbox.http.get("/healthz")).json() == {"ok": True}


async def test_a_killed_sandbox_goes_on_where_it_was(
    config: SandboxConfig, listener: Listener, tmp_path: Path
) -> None:
    settings = tmp_path / "sandbox.json"
    settings.write_text(config.model_dump_json())
    port = _free_port()
    listener.answers[EVENTS] = [503] * 1000

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        first = await _start(settings, port, http)
        sandbox = Sandbox(str(http.base_url), config, http)
        assert (await sandbox.ask("o-1-F1")).status_code == 202
        first.kill()
        await first.wait()
        listener.answers.clear()
        second = await _start(settings, port, http)
        try:
            await listener.until_event("delivered", "o-1-F1")
        finally:
            second.terminate()
            await second.wait()

    assert rows(config, "SELECT sum(quantity) FROM node_shipments") == [(2,)]


async def until(config: SandboxConfig, sql: str, wanted: list[tuple[Any, ...]]) -> None:
    deadline = time.monotonic() + 5
    while rows(config, sql) != wanted:
        assert time.monotonic() < deadline, rows(config, sql)
        await asyncio.sleep(0.02)


async def _start(settings: Path, port: int, http: httpx.AsyncClient) -> Process:
    code = (
        "import sys, uvicorn, pathlib\n"
        "from connectors.sandbox import app, config\n"
        "made = app.create_app(config.load(pathlib.Path(sys.argv[1])))\n"
        "uvicorn.run(made, port=int(sys.argv[2]), log_level='warning')\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, str(settings), str(port)
    )
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        try:
            if (await http.get("/healthz")).is_success:
                return process
        except httpx.TransportError:
            await asyncio.sleep(0.05)
    process.kill()
    raise TimeoutError("the sandbox did not start")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
