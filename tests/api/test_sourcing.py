"""The engine alone: what is sent is decided and told, and nothing is kept."""

from __future__ import annotations

import asyncio
import copy
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from api import solving, sourcing
from api.examples import SOURCING
from api.posed import MOST_LINES
from domain.sourcing.allowance import Stopped, Work
from domain.sourcing.answers import ASKED
from domain.sourcing.problem import Problem
from domain.sourcing.solver import solve
from storage import database
from storage.tables import metadata
from tests.api.conftest import Api, MakeKey
from tests.domain.sourcing.brute import seeded
from tests.domain.sourcing.test_allowance import endless
from tests.domain.sourcing.test_record import crowded

PATH = "/v1/sourcing"
Json = dict[str, Any]


@pytest.fixture
async def headers(key: MakeKey) -> dict[str, str]:
    return await key("sourcing")


def an_order(**changes: Any) -> Json:
    body: Json = copy.deepcopy(dict(SOURCING))
    body["order"] |= changes
    return body


def a_problem(problem: Problem, **more: Any) -> Json:
    return {"problem": problem.model_dump(mode="json"), **more}


async def test_a_problem_is_decided_as_it_would_be_here(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    problem = crowded(seeded(2))
    answer = await http.post(PATH, json=a_problem(problem, explain=["NODE-03"]), headers=headers)
    told = answer.json()

    assert answer.status_code == 200, answer.text
    decision = solve(problem, "web-1/1")
    assert told["decision"] == decision.model_dump(mode="json")
    assert [each["question"] for each in told["answers"]] == list(ASKED)
    [why] = told["why"]
    assert why["node"] == "NODE-03"
    assert why["text"]


async def test_an_order_is_sourced_from_its_own_network(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    told = (await http.post(PATH, json=SOURCING, headers=headers)).json()

    [package] = told["decision"]["plan"]["assignments"]
    assert package["node"] == "DC-DAL"
    assert package["cost"]["handling"] == 150
    [why] = told["why"]
    assert (why["node"], why["standing"]) == ("ST-AUS", "unchosen")
    assert any(step["kind"] == "stock" for change in why["others"] for step in change)
    again = (await http.post(PATH, json=SOURCING, headers=headers)).json()
    assert again == told


async def test_a_kit_is_sourced_as_its_components(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    kit = {"sku": "SET", "components": [{"sku": "MUG", "quantity": 2}, {"sku": "TEA"}]}
    body = an_order(
        lines=[{"line_id": "1", "sku": "SET", "quantity": 1}],
        products=[kit],
        stock={"DC-DAL": {"MUG": 2, "TEA": 1}, "ST-AUS": {"MUG": 9}},
    )
    told = (await http.post(PATH, json=body, headers=headers)).json()

    [package] = told["decision"]["plan"]["assignments"]
    assert package["node"] == "DC-DAL"
    assert [line["quantity"] for line in package["lines"]] == [2, 1]


async def test_a_node_takes_no_more_units_than_it_has_room_for(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    body = an_order(units_left={"DC-DAL": 1}, stock={"DC-DAL": {"MUG": 40}, "ST-AUS": {"MUG": 1}})
    told = (await http.post(PATH, json=body, headers=headers)).json()

    packages = told["decision"]["plan"]["assignments"]
    sent = {one["node"]: [line["quantity"] for line in one["lines"]] for one in packages}
    assert sent == {"DC-DAL": [1], "ST-AUS": [1]}


async def test_a_rule_that_binds_is_told_by_its_name(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    rule = {"name": "stores are for Texans", "kind": "exclude", "nodes": ["ST-AUS"]}
    body = an_order(
        stock={"DC-DAL": {"MUG": 40}, "ST-AUS": {"MUG": 2}},
        policy={"rules": "house@3", "constraints": [rule]},
    )
    told = (await http.post(PATH, json=body, headers=headers)).json()

    [why] = told["why"]
    assert why["standing"] == "eliminated"
    assert [step["rule"] for step in why["assumed"]] == ["stores are for Texans"]
    assert "If there had been no rule stores are for Texans, the best plan" in why["text"]
    by_question = {each["question"]: each["text"] for each in told["answers"]}
    assert "Rules house@3" in by_question["which_rules"]


async def test_nothing_is_written(
    http: httpx.AsyncClient, api: Api, headers: dict[str, str]
) -> None:
    async def rows() -> dict[str, int]:
        async with database.transaction(api.services.engine) as conn:
            names = [table.name for table in metadata.sorted_tables]
            counted = [
                (await conn.execute(text(f"SELECT count(*) FROM {name}"))).scalar_one()  # noqa: S608
                for name in names
            ]
            return dict(zip(names, counted, strict=True))

    before = await rows()
    assert (await http.post(PATH, json=SOURCING, headers=headers)).status_code == 200
    assert await rows() == before


@pytest.mark.parametrize("scope", ["orders:read", "orders:write", "ops", "nodes:write"])
async def test_it_takes_a_scope_of_its_own_and_gives_no_other(
    http: httpx.AsyncClient, key: MakeKey, headers: dict[str, str], scope: str
) -> None:
    refused = await http.post(PATH, json=SOURCING, headers=await key(scope))
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    for path in ("/v1/orders", "/v1/nodes", "/v1/stock"):
        assert (await http.get(path, headers=headers)).status_code == 403
    assert (await http.post(PATH, json=SOURCING)).status_code == 401


def _problem_with(**changes: Any) -> Json:
    body = a_problem(crowded(seeded(2)))
    for path, value in changes.items():
        place: Any = body["problem"]
        *way, last = path.split("__")
        for step in way:
            place = place[int(step) if step.isdigit() else step]
        place[last] = value
    return body


def _ruled(kind: str, **says: Any) -> Json:
    return an_order(policy={"constraints": [{"name": "house rule", "kind": kind, **says}]})


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "problem"),
        ({**SOURCING, "problem": _problem_with()["problem"]}, "problem"),
        ({"order": {}}, "order.lines"),
        (_problem_with(surprise=1), "problem.surprise"),
        (_problem_with(demands__0__colour="red"), "problem.demands.0.colour"),
        (_problem_with(candidates__3__options__1__speed=9), "problem.candidates.3.options.1.speed"),
        (_problem_with(demands__0__quantity=0), "problem.demands.0.quantity"),
        (_problem_with(demands__0__line_id="2"), "problem.demands"),
        (_problem_with(candidates__0__node="NODE-01"), "problem.candidates"),
        (
            _problem_with(candidates__3__options__1__service="ground"),
            "problem.candidates.3.options",
        ),
        (
            _problem_with(candidates__0__order_cost_minor=10**12),
            "problem.candidates.0.order_cost_minor",
        ),
        (_problem_with(candidates__0__stock={"A": -1}), "problem.candidates.0.stock.A"),
        (_problem_with(as_of="2026-11-20T10:00:00"), "problem.as_of"),
        (_problem_with(max_nodes=0), "problem.max_nodes"),
        (_problem_with(late_day_minor=10**9), "problem.late_day_minor"),
        (_problem_with(policy__colour="red"), "problem.policy.colour"),
        (_problem_with(policy__weights__fame=1), "problem.policy.weights.fame"),
        (_problem_with(candidates__0__units_left=-1), "problem.candidates.0.units_left"),
        (_ruled("max_nodes"), "order.policy.constraints.0.value"),
        (_ruled("max_nodes", value=0), "order.policy.constraints.0.value"),
        (_ruled("exclude"), "order.policy.constraints.0.nodes"),
        (_ruled("capability"), "order.policy.constraints.0.what"),
        (_ruled("exclude", nodes=["NOWHERE"]), "order.policy.constraints.0.nodes"),
        (_ruled("ship_alone", lines=["9"]), "order.policy.constraints.0.lines"),
        (_ruled("magic"), "order.policy.constraints.0.kind"),
        (
            an_order(stock={f"N{n}": dict.fromkeys(map(str, range(501)), 1) for n in range(200)}),
            "order.stock",
        ),
        (an_order(stock={"NOWHERE": {"MUG": 1}}), "order.stock"),
        (an_order(rate_cards=[]), "order.rate_cards"),
        (an_order(method="pickup"), "order.pickup_node"),
        (an_order(lines=[{"line_id": "1", "sku": "A", "quantity": 1}] * 2), "order.lines"),
        ({**SOURCING, "explain": ["NOWHERE"]}, "explain"),
    ],
)
async def test_what_is_wrong_is_named_with_its_field(
    http: httpx.AsyncClient, headers: dict[str, str], body: Json, field: str
) -> None:
    answer = await http.post(PATH, json=body, headers=headers)
    assert answer.status_code == 422, answer.text
    assert field in [error["field"] for error in answer.json()["errors"]]


async def test_more_work_than_is_taken_is_refused_with_what_would_be(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    demand = {"sku": "A", "quantity": 1, "weight_g": 100}
    lines = [{"line_id": str(n), **demand} for n in range(MOST_LINES)]
    body = _problem_with(demands=lines)
    candidate = body["problem"]["candidates"][0]
    body["problem"]["candidates"] = [
        {**candidate, "node": f"N{n}", "stock": {"A": 1}} for n in range(41)
    ]
    answer = await http.post(PATH, json=body, headers=headers)
    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["field"] == "problem.candidates"
    assert "send 40 at most" in error["message"]


async def test_numbers_that_are_too_large_to_be_added_up_are_refused(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    body = _problem_with(policy__weights={"handling": 100_000, "carbon_minor_per_kg": 1})
    [demand, *_] = body["problem"]["demands"]
    body["problem"]["demands"] = [demand | {"quantity": 100_000}]
    for candidate in body["problem"]["candidates"]:
        candidate |= {"stock": {demand["sku"]: 100_000}, "unit_cost_minor": 10**10}
    answer = await http.post(PATH, json=body, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), answer.text
    assert "too large" in answer.json()["detail"]


async def test_a_long_solve_holds_nobody_else(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    body = _problem_with()
    body["problem"]["demands"] = [
        {"line_id": str(n), "sku": f"SKU-{n:04}", "quantity": 2, "weight_g": 400} for n in range(14)
    ]
    for place, candidate in enumerate(body["problem"]["candidates"]):
        candidate["stock"] = {f"SKU-{n:04}": 1 for n in range(14) if (n + place) % 3}
    slow = asyncio.create_task(http.post(PATH, json=body, headers=headers))
    answered = 0
    while not slow.done():
        assert (await http.get("/healthz")).status_code == 200
        answered += 1
    assert (await slow).json()["decision"]["solver"] == "ortools-cp-sat"
    assert answered > 3


async def test_who_does_not_come_to_its_turn_is_told_to_come_again(
    http: httpx.AsyncClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solving, "_PATIENCE", timedelta(milliseconds=50))
    async with solving._strange_turn:
        busy = await http.post(PATH, json=SOURCING, headers=headers)
    async with solving._turn, solving._turn:  # those of our own orders
        assert (await http.post(PATH, json=SOURCING, headers=headers)).status_code == 200
    assert (busy.status_code, busy.json()["code"]) == (503, "outage")
    assert busy.headers["Retry-After"] == "1"
    assert busy.json()["detail"] == "sourcing is busy; try again in 1 s"


async def test_who_has_to_wait_is_told_for_how_much_work(
    http: httpx.AsyncClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solving, "_PATIENCE", timedelta(milliseconds=50))
    async with solving._strange_turn:
        monkeypatch.setattr(solving, "_at_work", {Work(12.5)})
        busy = await http.post(PATH, json=SOURCING, headers=headers)
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "13")
    assert busy.json()["detail"] == "sourcing is busy; try again in 13 s"


async def test_all_that_a_request_asks_takes_so_much_work_and_no_more(
    http: httpx.AsyncClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Work] = []

    def counting(most: float) -> Work:
        made.append(Work(most))
        return made[-1]

    monkeypatch.setattr(sourcing, "MOST_WORK", 4.0)
    monkeypatch.setattr(sourcing, "Work", counting)
    body = a_problem(endless(lines=60, nodes=40), explain=[f"N{number:02}" for number in range(5)])
    first = await http.post(PATH, json=body, headers=headers)
    told = first.json()

    assert first.status_code == 200, first.text
    assert told["decision"]["proof"] == "feasible"
    assert told["decision"]["bound"] is not None
    assert len(told["why"]) == 5
    assert any("more work" in why["text"] for why in told["why"])
    assert -0.5 < made[0].left < 0.5  # of 4.0: a solve ends a little late
    assert (await http.post(PATH, json=body, headers=headers)).content == first.content


async def test_what_the_caller_does_not_wait_for_ends(
    http: httpx.AsyncClient, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[BaseException | None] = []
    sourced = sourcing._sourced

    def watched(*given: Any) -> Any:
        try:
            found = sourced(*given)
        except BaseException as end:
            ends.append(end)
            raise
        ends.append(None)
        return found

    monkeypatch.setattr(sourcing, "MOST_WORK", 1000.0)
    monkeypatch.setattr(sourcing, "_sourced", watched)
    body = a_problem(endless(), explain=["N01", "N02"])
    asking = asyncio.create_task(http.post(PATH, json=body, headers=headers))
    while not solving._at_work:  # noqa: ASYNC110  # it has no event to wait for
        await asyncio.sleep(0.01)
    asking.cancel()
    while solving._at_work:  # noqa: ASYNC110
        await asyncio.sleep(0.01)

    assert [type(end) for end in ends] == [Stopped]
    assert (await http.post(PATH, json=SOURCING, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"order": {"nodes": [{}] * 200_000}}, "order.nodes"),
        (
            {"problem": {"candidates": [{"options": [{}] * 200_000}]}},
            "problem.candidates.0.options",
        ),
        ({"order": {"stock": {"A": {str(n): -1 for n in range(100_000)}}}}, "order.stock.A"),
        ({"order": {str(n): 1 for n in range(100_000)}}, "order"),
        ({"explain": [1] * 300_000}, "explain"),
    ],
)
async def test_too_many_parts_are_told_before_what_is_wrong_with_each(
    http: httpx.AsyncClient, headers: dict[str, str], body: Json, field: str
) -> None:
    answer = await http.post(PATH, json=body, headers=headers)

    assert answer.status_code == 422
    [error] = answer.json()["errors"]
    assert error["field"] == field
    assert error["message"].startswith("should have at most ")


async def test_a_part_that_is_wrong_does_not_make_its_list_empty(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    lines = [{"line_id": "1", "sku": "MUG", "quantity": 0}]
    told = (await http.post(PATH, json=an_order(lines=lines), headers=headers)).json()
    assert [error["field"] for error in told["errors"]] == ["order.lines.0.quantity"]
    told = (await http.post(PATH, json=an_order(lines=[]), headers=headers)).json()
    assert [error["field"] for error in told["errors"]] == ["order.lines"]


async def test_a_request_without_a_body_is_told_so(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await http.post(PATH, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert answer.json()["detail"] == "there is no body; send one as JSON"


async def test_no_node_is_said_to_be_the_nearest_to_an_address_abroad(
    http: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    abroad = {"postal_code": "10115", "country": "DE"}
    told = (await http.post(PATH, json=an_order(ship_to=abroad), headers=headers)).json()
    [farther] = [a["text"] for a in told["answers"] if a["question"] == "why_farther"]
    assert farther == "How far the nodes are is not known: the address is abroad."
