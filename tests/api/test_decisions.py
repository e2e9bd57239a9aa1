"""An order's decisions over HTTP: told, in full, and questioned."""

import httpx
import pytest

from domain.sourcing.answers import ASKED
from domain.sourcing.explain import applied, why
from domain.sourcing.problem import Decision
from domain.sourcing.record import Record
from domain.sourcing.solver import cheapest_plan, solve
from storage import database, decisions
from tests.api.conftest import Api, MakeKey, MakeOrder
from tests.domain.sourcing.brute import seeded
from tests.domain.sourcing.test_record import crowded, with_surroundings


@pytest.fixture
async def order_id(api: Api, stored: MakeOrder) -> str:
    """An order that was decided twice; of twenty nodes one was offline the second time."""
    order = await stored("5001")
    problem = crowded(seeded(1), order.order_id)
    first = problem.candidates[0].model_copy(update={"eliminated": "offline"})
    again = problem.model_copy(update={"round": 2, "candidates": (first, *problem.candidates[1:])})
    async with database.transaction(api.services.engine) as conn:
        for one in (problem, again):
            record = with_surroundings(solve(one, f"{order.order_id}/{one.round}"))
            await decisions.store(conn, record)
    return order.order_id


async def test_every_decision_is_told_with_nine_answers(
    http: httpx.AsyncClient, key: MakeKey, order_id: str
) -> None:
    answer = await http.get(f"/v1/orders/{order_id}/decisions", headers=await key("orders:read"))
    told = answer.json()

    assert answer.status_code == 200, answer.text
    assert [(one["round"], one["decision_id"]) for one in told] == [
        (1, f"{order_id}/1"),
        (2, f"{order_id}/2"),
    ]
    for one in told:
        assert "problem" not in one
        assert [each["question"] for each in one["answers"]] == list(ASKED)
        assert all(each["text"] for each in one["answers"])
        assert one["record"]["bytes"] <= 4096
        assert len(one["record"]["pieces"]) == 4
    by_question = {each["question"]: each for each in told[1]["answers"]}
    assert "NODE-00: offline" in by_question["which_nodes"]["text"]
    assert by_question["what_cost"]["facts"]["cost_minor"] == sum(
        by_question["what_cost"]["facts"]["parts"].values()
    )


async def test_one_is_there_in_full_and_solves_to_itself(
    http: httpx.AsyncClient, key: MakeKey, order_id: str
) -> None:
    path = f"/v1/orders/{order_id}/decisions"
    answer = await http.get(f"{path}/2", headers=await key("orders:read"))
    decision = Decision.model_validate(answer.json())

    assert solve(decision.problem, decision.decision_id) == decision
    assert (await http.get(f"{path}/3", headers=await key("orders:read"))).status_code == 404


async def test_why_not_is_answered_by_a_solve(
    http: httpx.AsyncClient, key: MakeKey, order_id: str
) -> None:
    headers, path = await key("orders:read"), f"/v1/orders/{order_id}/decisions/2"
    decision = Decision.model_validate((await http.get(path, headers=headers)).json())
    found = await http.get(f"{path}/why", params={"node": "NODE-00"}, headers=headers)
    said = found.json()

    assert said["standing"] == "eliminated"
    assert said["reason"] == "offline"
    assert said["text"].startswith("NODE-00 was left out: offline.")
    told = why(Record(decision=decision), "NODE-00")
    assert said["cost_minor"] == told.cost_minor
    won = cheapest_plan(applied(decision.problem, "NODE-00", told.change))
    assert "NODE-00" in {package.node for package in won.assignments}
    chosen = decision.plan.assignments[0].node
    kept = await http.get(f"{path}/why", params={"node": chosen}, headers=headers)
    assert kept.json()["standing"] == "chosen"


async def test_a_node_that_was_not_looked_at_is_named_with_those_that_were(
    http: httpx.AsyncClient, key: MakeKey, order_id: str
) -> None:
    path = f"/v1/orders/{order_id}/decisions/1/why"
    headers = await key("orders:read")
    nowhere = await http.get(path, params={"node": "NOWHERE"}, headers=headers)
    assert nowhere.status_code == 404
    assert "no node NOWHERE; it knows NODE-00" in nowhere.json()["detail"]
    assert (await http.get(path, headers=headers)).json()["errors"][0]["field"] == "node"
