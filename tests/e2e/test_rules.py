"""Rules over HTTP as a merchant changes them: refused, saved, tried, activated, and obeyed."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from tests.e2e.conftest import Demo, Json, Operator


@pytest.fixture
async def standard(operator: Operator) -> AsyncIterator[str]:
    """The demo's own rules, as YAML; they hold again afterwards."""
    answer = await operator.http.get("/v1/rules/standard/versions/1/yaml")
    yield answer.raise_for_status().text
    await operator.sends("POST", "/v1/rules/standard/versions/1/activate", {})


def an_order(sku: str) -> Json:
    line = {"line_id": "1", "sku": sku, "quantity": 1, "unit_price_minor": 4000}
    return {
        "channel": "api",
        "channel_order_id": uuid4().hex[:12],
        "placed_at": datetime.now(UTC).isoformat(),
        "currency": "USD",
        "total_minor": 4000,
        "lines": [line],
        "ship_to": {"name": "Ada", "postal_code": "75201", "country": "US"},
    }


async def decision_of(operator: Operator, order: Json) -> Json:
    """What was decided of an order that is placed now."""
    order_id = (await operator.sends("POST", "/v1/orders", order))["order_id"]

    async def look() -> Json | None:
        answer = await operator.http.get(f"/v1/orders/{order_id}/decisions/1")
        found: Any = answer.json()
        return found if answer.is_success else None

    return await operator.waits(look, f"a decision of {order_id}")


async def test_a_version_that_is_activated_decides_the_next_order(
    operator: Operator, standard: str
) -> None:
    await operator.stocks([sku := f"RULED-{uuid4().hex[:6]}"], units=9)
    before = await decision_of(operator, an_order(sku))

    def without_dallas(field: str) -> str:
        rule = f"      - {{name: not-dallas, kind: exclude, when: '{field} == \"DC-DAL\"'}}\n"
        return standard.replace("    rules:\n", f"    rules:\n{rule}", 1)

    refused = await operator.http.post("/v1/rules", json={"yaml": without_dallas("node.cod")})
    saved = await operator.sends("POST", "/v1/rules", {"yaml": without_dallas("node.code")})
    draft = {"name": "standard", "version": saved["version"], "order": an_order(sku)}
    tried = await operator.sends("POST", "/v1/rules/try", draft)
    label = f"standard@{saved['version']}"
    await operator.sends("POST", f"/v1/rules/{label.replace('@', '/versions/')}/activate", {})
    after = await decision_of(operator, an_order(sku))

    assert refused.status_code == 422
    [error] = refused.json()["errors"]
    assert error["field"] == "profiles.0.rules.0.when"
    assert "column 5: there is no node.cod; did you mean node.code?" in error["message"]
    assert before["problem"]["policy"]["rules"] == "standard@1"
    assert [a["node"] for a in before["plan"]["assignments"]] == ["DC-DAL"]
    assert after["problem"]["policy"]["rules"] == tried["rules"] == label
    nodes = [a["node"] for a in after["plan"]["assignments"]]
    assert nodes == [a["node"] for a in tried["plan"]["assignments"]] == ["DC-ATL"]
    assert after["eliminated"]["DC-DAL"] == "rule not-dallas: excluded"


async def test_the_demos_decisions_name_their_rules_and_come_out_the_same_again(
    demo: Demo, operator: Operator
) -> None:
    told = demo.does("decision", "replay", "--all", "--json")
    orders = demo.asks("SELECT DISTINCT order_id FROM decisions ORDER BY order_id LIMIT 40")
    named = set()
    for row in orders:
        found: Any = await operator.reads(f"/v1/orders/{row['order_id']}/decisions")
        for decision in found:
            [answer] = [a for a in decision["answers"] if a["question"] == "which_rules"]
            named.add(answer["facts"]["limits"]["policy"]["rules"].partition("@")[0])

    assert told.code == 0, told.out
    assert told.last_line["ok"] is True
    assert "standard" in named
    assert named <= {"standard", "last-resort"}
