"""Rule sets over HTTP: kept, compared, activated by who may, and tried without a trace."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.network import RateCard, Zone
from domain.rules.documents import load
from domain.sourcing.prices import Prices
from storage import network, prices, stock
from storage.database import transaction
from storage.tables import metadata
from tests.api.conftest import Api, MakeKey, MakeOrder, an_order, body_of
from tests.api.test_prices import EVIDENCE
from tests.domain.rules.written import a_profile, a_rule, a_set, leads_to

Json = dict[str, Any]
Headers = dict[str, str]
NEAR = a_rule("near", "exclude", 'node.kind == "store" && node.code == "STORE-1"', hard=False)

LINE = {"line_id": "1", "quantity": 1}


def of(*rules: Json) -> Json:
    return a_set("web", a_profile("a", *rules))


@pytest.fixture
async def empty(api: Api) -> None:
    async with transaction(api.services.engine) as conn:
        await conn.execute(text("TRUNCATE rule_sets, rule_set_log RESTART IDENTITY"))


@pytest.fixture(scope="module")
async def stocked(api: Api) -> None:
    """Two units of the mug at each node, and a way to send them."""
    zone = Zone(max_miles=5000, base_minor=500, per_lb_minor=10, transit_days=3)
    async with transaction(api.services.engine) as conn:
        await network.put_rate_cards(
            conn, [RateCard(service="ground", carrier="ups", zones=(zone,))]
        )
        for node in ("DC-DAL", "STORE-1"):
            await stock.receive(conn, node, node, [("SKU-1", 2)], "receipt", "test")


@pytest.fixture
async def boss(key: MakeKey, empty: None) -> Headers:
    return await key("rules:write", "rules:activate", "rules:read", "orders:read")


async def kept(http: httpx.AsyncClient, who: Headers, sent: Json) -> Json:
    answer = await http.post("/v1/rules", json={"rules": sent}, headers=who)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def post(http: httpx.AsyncClient, who: Headers, path: str, **body: Any) -> httpx.Response:
    return await http.post(f"/v1/rules/{path}", json=body, headers=who)


async def test_a_set_is_kept_activated_and_archived_and_its_story_told(
    http: httpx.AsyncClient, boss: Headers
) -> None:
    first = await kept(http, boss, a_set("web", a_profile("all", NEAR)))
    assert (first["version"], first["status"], first["actor"]) == (1, "draft", "key:test key")
    assert (await kept(http, boss, a_set("web", a_profile("all", NEAR))))["version"] == 1
    assert (await kept(http, boss, a_set("web", note="plain")))["version"] == 2
    done = await post(http, boss, "web/versions/1/activate", note="go")
    assert (done.status_code, done.json()["status"]) == (200, "active")
    assert (await http.get("/v1/rules/web", headers=boss)).json() == done.json()
    assert (await http.get("/v1/rules/web/versions/1", headers=boss)).json() == done.json()
    changed = (await http.get("/v1/rules/web/diff", headers=boss)).json()
    assert (changed["before"], changed["after"]) == (1, 2)
    assert {d["path"] for d in changed["differences"]} == {"note", "profiles[all].rules[near]"}
    await post(http, boss, "web/versions/2/activate")
    await post(http, boss, "web/versions/2/archive")
    story = (await http.get("/v1/rules/web/history", headers=boss)).json()
    assert [(e["version"], e["action"]) for e in story] == [
        *((1, "saved"), (2, "saved"), (1, "activated"), (1, "archived")),
        *((2, "activated"), (2, "archived")),
    ]
    assert (story[2]["note"], story[2]["actor"]) == ("go", "key:test key")
    for path in ("web/versions/9", "none", "none/diff", "none/versions/1/yaml"):
        missing = await http.get(f"/v1/rules/{path}", headers=boss)
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found"), path


async def test_versions_are_listed_in_pages(http: httpx.AsyncClient, boss: Headers) -> None:
    for number in range(3):
        await kept(http, boss, a_set("web", note=str(number)))
    page = (await http.get("/v1/rules?limit=2", headers=boss)).json()
    assert [one["version"] for one in page["items"]] == [3, 2]
    rest = await http.get("/v1/rules", params={"cursor": page["next"]}, headers=boss)
    assert [one["version"] for one in rest.json()["items"]] == [1]
    none = await http.get("/v1/rules?status=active", headers=boss)
    assert none.json() == {"items": [], "next": None}
    for cursor in ("x", "[1]", '["a", 0]', '["a", true]', "{}"):
        forged = await http.get("/v1/rules", params={"cursor": cursor}, headers=boss)
        assert (forged.status_code, forged.json()["code"]) == (422, "invalid")


async def test_yaml_goes_in_and_comes_out_the_same(http: httpx.AsyncClient, boss: Headers) -> None:
    folder = Path(__file__).parents[2] / "cli"
    for file in ("sample_rules_last.yaml", "sample_rules.yaml"):
        written = (folder / file).read_text()
        answer = await http.post("/v1/rules", json={"yaml": written}, headers=boss)
        assert answer.status_code == 200, answer.text
        name = answer.json()["rules"]["name"]
        given = await http.get(f"/v1/rules/{name}/versions/1/yaml", headers=boss)
        assert given.headers["content-type"] == "application/yaml"
        assert load(given.text) == load(written)
        again = await http.post("/v1/rules", json={"yaml": given.text}, headers=boss)
        assert again.json()["version"] == 1


@pytest.mark.parametrize(
    ("sent", "field", "told"),
    [
        (
            {"rules": of(a_rule("r", "max_nodes", "order.totl > 1", value=1))},
            "rules.profiles.0.rules.0.when",
            "line 1, column 6: there is no order.totl; did you mean order.total_minor?",
        ),
        (
            {"rules": of(a_rule("r", "max_nodes", "order.units", value=1))},
            "rules.profiles.0.rules.0.when",
            "line 1, column 1: is of type int",
        ),
        ({"rules": a_set("web", a_profile("a", colour=1))}, "rules.profiles.0.colour", "Extra"),
        (
            {"rules": a_set("web", a_profile(**leads_to("none")))},
            "rules.profiles.0.outcomes.partial.0.next",
            "no rule set none",
        ),
        (
            {"rules": a_set("web", a_profile(**leads_to("web")))},
            "rules.profiles.0.outcomes",
            "for ever",
        ),
        (
            {"rules": a_set("web", a_profile("a"), a_profile("b"))},
            "rules.profiles.1",
            "a and b both",
        ),
        (
            {"rules": a_set("web", a_profile(outcomes={}))},
            "rules.profiles.0.outcomes.partial",
            "next step",
        ),
        ({"yaml": "name: web\nower: ann\n"}, "ower", "line 2: there is no such field"),
        ({"yaml": "name: [\n"}, "", "not YAML"),
        ({"yaml": "x" * 300_000}, "yaml", "at most"),
        ({}, "rules", "say either"),
        ({"rules": a_set("web\x00")}, "rules.name", "NUL"),
    ],
)
async def test_what_cannot_be_kept_names_field_and_cure(
    http: httpx.AsyncClient, boss: Headers, sent: Json, field: str, told: str
) -> None:
    answer = await http.post("/v1/rules", json=sent, headers=boss)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), answer.text
    errors = answer.json().get("errors") or [{"field": "", "message": answer.json()["detail"]}]
    found = {error["field"]: error["message"] for error in errors}
    assert told in found[field]
    listed = (await http.get("/v1/rules", headers=boss)).json()
    assert listed["items"] == []


async def test_two_active_sets_for_one_order_are_a_conflict_that_names_both(
    http: httpx.AsyncClient, boss: Headers
) -> None:
    await kept(http, boss, a_set("one"))
    await kept(http, boss, a_set("two", a_profile("web", channels=["web"])))
    await post(http, boss, "one/versions/1/activate")
    refused = await post(http, boss, "two/versions/1/activate")
    assert (refused.status_code, refused.json()["code"]) == (409, "overlap")
    assert (
        "two/web and one/all, which is active, both match channel web" in refused.json()["detail"]
    )


async def test_a_set_that_others_lead_to_is_in_use(http: httpx.AsyncClient, boss: Headers) -> None:
    await kept(http, boss, a_set("last", entry=False))
    await kept(http, boss, a_set("web", a_profile(**leads_to("last"))))
    early = await post(http, boss, "web/versions/1/activate")
    assert (early.status_code, early.json()["code"]) == (422, "invalid")
    await post(http, boss, "last/versions/1/activate")
    await post(http, boss, "web/versions/1/activate")
    refused = await post(http, boss, "last/versions/1/archive")
    assert (refused.status_code, refused.json()["code"]) == (409, "in_use")


async def test_scopes_decide_who_reads_writes_and_activates(
    http: httpx.AsyncClient, boss: Headers, key: MakeKey
) -> None:
    await kept(http, boss, a_set("web"))
    reader, writer = await key("rules:read"), await key("rules:write")
    save = {"rules": a_set("web", note="x")}
    assert (await http.get("/v1/rules", headers=reader)).status_code == 200
    assert (await http.post("/v1/rules", json=save, headers=reader)).status_code == 403
    assert (await http.post("/v1/rules", json=save, headers=writer)).status_code == 200
    assert (await post(http, writer, "web/versions/1/activate")).status_code == 403
    tried = await post(http, reader, "try", order_id="webshop-none")
    assert (tried.status_code, tried.json()["code"]) == (403, "forbidden")
    paths = ["", "/fields", "/web", "/web/history", "/web/diff", "/web/versions/1"]
    paths += ["/web/versions/1/yaml"]
    others = [await key("orders:read", "stock:write"), {}]
    others += [
        await key("rules:read", **bound) for bound in ({"channels": ["web"]}, {"nodes": ["X"]})
    ]
    for path in paths:
        for who in others[: 2 if path == "/fields" else 4]:
            answer = await http.get(f"/v1/rules{path}", headers=who)
            assert answer.status_code == (403 if who else 401), path
    bound = await key("rules:activate", "rules:write", channels=["web"])
    assert (await http.post("/v1/rules", json=save, headers=bound)).status_code == 403
    for action in ("activate", "archive"):
        assert (await post(http, bound, f"web/versions/1/{action}")).status_code == 403
    assert (await post(http, bound, "try", order=body_of(an_order("1")))).status_code == 403


async def test_the_fields_are_told_with_type_and_scope(
    http: httpx.AsyncClient, boss: Headers
) -> None:
    told = {f["name"]: f for f in (await http.get("/v1/rules/fields", headers=boss)).json()}
    assert told["node.miles"]["type"] == "int"
    assert (told["product.category"]["scope"], told["now"]["scope"]) == ("line", "order")
    documented = (Path(__file__).parents[2] / "docs" / "rules.md").read_text()
    for name, field in told.items():
        assert f"| `{name}` | {field['type']} | {field['says']} |" in documented, name


async def everything(engine: AsyncEngine) -> dict[str, list[str]]:
    """Every row of every table, but for the keys of those who ask."""
    async with transaction(engine) as conn:
        return {
            table.name: sorted(
                str(row)
                for row in await conn.execute(text(f"SELECT t::text FROM {table.name} AS t"))  # noqa: S608
            )
            for table in metadata.sorted_tables
        }


@pytest.mark.usefixtures("stocked")
async def test_a_dry_run_tells_what_would_be_and_writes_nothing(
    http: httpx.AsyncClient, api: Api, boss: Headers, stored: MakeOrder
) -> None:
    order = await stored("rules-1")
    vip = a_profile("vips", NEAR, segments=["vip"], objective="fastest", review=True)
    rest = a_profile(
        "rest", a_rule("far", "exclude", "node.miles > 500 / (order.lines - 1)"), segments=["x"]
    )
    await kept(http, boss, a_set("web", vip, rest))
    before = await everything(api.services.engine)
    invented = body_of(an_order("none")) | {"segment": "vip"}
    draft = (await post(http, boss, "try", name="web", version=1, order=invented)).json()
    assert draft["rules"] == "web@1"
    judged = draft["judged"]
    assert (judged["profile"], judged["review"]) == ("vips", True)
    assert (judged["policy"]["rules"], judged["policy"]["profile"]) == ("web@1", "fastest")
    (near,) = judged["policy"]["constraints"]
    assert (near["name"], near["nodes"], near["lines"]) == ("near", ["STORE-1"], None)
    assert (judged["told"][0]["state"], judged["told"][0]["nodes"]) == ("met", ["STORE-1"])
    assert judged["nothing"]["then"] == "backorder"
    assert sum(a["lines"][0]["quantity"] for a in draft["plan"]["assignments"]) == 2
    wrong = (await post(http, boss, "try", name="web", order=invented | {"segment": "x"})).json()
    assert (wrong["judged"]["told"][0]["state"]) == "error"
    assert "divide by zero" in wrong["judged"]["told"][0]["error"]
    real = (await post(http, boss, "try", order_id=order.order_id)).json()
    assert (real["rules"], real["judged"]) == ("", None)
    assert real["plan"]["assignments"]
    assert await everything(api.services.engine) == before
    await post(http, boss, "web/versions/1/activate")
    live = (await post(http, boss, "try", order=invented)).json()
    assert live["judged"] == judged
    assert live["plan"]["cost"] == draft["plan"]["cost"]


@pytest.mark.usefixtures("stocked")
async def test_a_dry_run_knows_the_prices_of_stock_that_a_decision_would(
    http: httpx.AsyncClient, api: Api, boss: Headers
) -> None:
    order = body_of(an_order("none"))
    free = (await post(http, boss, "try", order=order)).json()["plan"]
    (node,) = {a["node"] for a in free["assignments"]}
    one = np.ones((1, 1))
    dear = Prices("poisson-tail", ("SKU-1",), (node,), one * 0, one * 10**6, one * 50)
    async with transaction(api.services.engine) as conn:
        version = await prices.keep(conn, dear, 0.0, 400, EVIDENCE)
        assert await prices.settle(conn, version, "pricing", "")
    try:
        priced = (await post(http, boss, "try", order=order)).json()["plan"]
    finally:
        async with transaction(api.services.engine) as conn:
            await conn.execute(text("TRUNCATE price_books, price_log"))
    assert {a["node"] for a in priced["assignments"]}.isdisjoint({node})


@pytest.mark.parametrize(
    ("sent", "status", "field"),
    [
        ({}, 422, "order"),
        ({"order_id": "a", "order": body_of(an_order("1"))}, 422, "order"),
        ({"order_id": "a", "version": 1}, 422, "name"),
        ({"order_id": "webshop-none"}, 404, None),
        ({"order": body_of(an_order("1")), "name": "none"}, 404, None),
        ({"order": body_of(an_order("1")) | {"segment": "x" * 65}}, 422, "order.segment"),
        (
            {"order": body_of(an_order("1")) | {"lines": [{**LINE, "sku": "NONE"}]}},
            422,
            "lines.0.sku",
        ),
    ],
)
async def test_a_dry_run_that_cannot_be_names_the_field(
    http: httpx.AsyncClient, boss: Headers, sent: Json, status: int, field: str | None
) -> None:
    answer = await post(http, boss, "try", **json.loads(json.dumps(sent)))
    assert answer.status_code == status, answer.text
    if field:
        assert field in [error["field"] for error in answer.json()["errors"]]
