"""Quotes over HTTP at fixed clocks: dates, cut-offs, stores, and what is refused."""

from __future__ import annotations

from datetime import datetime, timedelta

import httpx
import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from api import solving
from domain.orders import Units
from domain.rules.sets import RuleSet
from storage import records, reservations, rules, supplies
from storage.asks import Ask
from storage.database import transaction
from storage.supplies import Supply
from storage.tables import metadata, promises
from tests.api.conftest import Api, MakeKey
from tests.api.promising import cart, local
from tests.api.quoting import (
    MUGS,
    TUESDAY,
    At,
    Json,
    at,
    option,
    quoted,
    refused,
    shop,
    utc,
)
from tests.domain.rules.written import a_profile, a_rule, a_set
from tests.samples import a_change, a_share
from tests.samples import an_order as order_of

__all__ = ["at", "shop"]


async def test_each_service_and_each_store_near_by_is_an_option(at: At) -> None:
    quote = await quoted(at, TUESDAY, cart(MUGS))
    ground, overnight = quote["ship"]

    assert (quote["as_of"], quote["currency"], quote["located_by"]) == (
        utc(TUESDAY),
        "USD",
        "zip",
    )
    assert datetime.fromisoformat(quote["stock_as_of"]) > TUESDAY
    assert (ground["service"], ground["labels"]) == ("ground", ["cheapest", "fastest"])
    assert (overnight["service"], overnight["labels"]) == ("overnight", [])
    assert ground["nodes"] == ["DC-DAL"]
    assert ground["ship_by"] == utc(local("2026-09-01T18:00"))
    assert ground["deliver_earliest"] == utc(local("2026-09-02T08:00"))
    assert ground["deliver_latest"] == utc(local("2026-09-02T20:00"))
    nothing = dict.fromkeys(("split", "late", "labour", "stock", "goods"), 0)
    assert ground["cost"] == {"shipping": 740, "handling": 100, **nothing}
    assert ground["cost_minor"] == 840
    assert ground["cutoff"] == {"at": utc(local("2026-09-01T14:00")), "seconds": 5 * 3600}
    assert [(s["node"], s["has"], s["miles"]) for s in quote["pickup"]] == [
        ("ST-DAL", "all", 1),
        ("ST-FTW", "all", 31),
    ]
    assert quote["pickup"][0]["ready_by"] == utc(local("2026-09-01T11:00"))
    assert quote["short"] == []
    assert all(offer["token"] is None for offer in (*quote["ship"], *quote["pickup"]))


async def test_far_away_the_cheapest_is_not_the_fastest(at: At) -> None:
    quote = await quoted(at, TUESDAY, cart(("TEE", 1), to="60601"))

    assert [(o["service"], o["labels"]) for o in quote["ship"]] == [
        ("ground", ["cheapest"]),
        ("overnight", ["fastest"]),
    ]
    assert option(quote, "ground")["deliver_latest"] == utc(local("2026-09-04T20:00"))
    assert option(quote, "overnight")["deliver_latest"] == utc(local("2026-09-02T20:00"))
    assert quote["pickup"] == []


# Monday the 7th is Labor Day: the node is closed and the carrier does not drive.
@pytest.mark.parametrize(
    ("now", "comes", "cutoff"),
    [
        pytest.param("2026-09-01T13:59:59", "2026-09-02", "2026-09-01T14:00", id="1-s-before"),
        pytest.param("2026-09-01T14:00:00", "2026-09-03", "2026-09-02T14:00", id="at-the-cut-off"),
        pytest.param("2026-09-01T14:00:01", "2026-09-03", "2026-09-02T14:00", id="1-s-after"),
        pytest.param("2026-09-04T13:59:59", "2026-09-08", "2026-09-04T14:00", id="friday-before"),
        pytest.param("2026-09-04T14:00:01", "2026-09-09", "2026-09-08T14:00", id="friday-after"),
        pytest.param("2026-03-06T14:00:01", "2026-03-10", "2026-03-09T14:00", id="DST-begins"),
        pytest.param("2026-10-30T14:00:01", "2026-11-03", "2026-11-02T14:00", id="DST-ends"),
    ],
)
async def test_the_cut_off_moves_the_date(at: At, now: str, comes: str, cutoff: str) -> None:
    asked = local(now)
    ground = option(await quoted(at, asked, cart(MUGS)), "ground")

    assert ground["deliver_latest"] == utc(local(f"{comes}T20:00"))
    assert ground["cutoff"]["at"] == utc(local(cutoff))
    assert ground["cutoff"]["seconds"] == (local(cutoff) - asked).total_seconds()


async def test_the_first_cut_off_of_several_nodes_counts_each_in_its_own_zone(at: At) -> None:
    """New York's 14:00 is an hour before Dallas's."""
    quote = await quoted(at, local("2026-09-01T12:59:59"), cart(("TEE", 1), ("MUG", 12)))
    ground = option(quote, "ground")

    assert sorted(ground["nodes"]) == ["DC-DAL", "DC-NYC"]
    assert ground["cutoff"] == {"at": utc(local("2026-09-01T13:00")), "seconds": 1}
    assert ground["deliver_earliest"] == utc(local("2026-09-02T08:00"))
    assert ground["deliver_latest"] == utc(local("2026-09-08T20:00"))


async def test_ten_minutes_before_closing_is_ready_after_the_next_opening(at: At) -> None:
    quote = await quoted(at, local("2026-09-01T19:50"), cart(MUGS))

    assert quote["pickup"][0]["ready_by"] == utc(local("2026-09-02T11:00"))
    assert quote["pickup"][0]["cutoff"]["at"] == utc(local("2026-09-02T19:00"))


async def test_a_store_that_has_some_says_what_it_lacks(at: At) -> None:
    lines = [{"sku": "MUG", "quantity": 2, "line_id": "a"}, {"sku": "TEE", "quantity": 1}]
    quote = await quoted(at, TUESDAY, {**cart(), "lines": lines, "token_seconds": 60})
    near, far = quote["pickup"][1], quote["pickup"][0]

    assert (far["node"], far["has"], far["missing"]) == ("ST-FTW", "all", [])
    assert (near["node"], near["has"]) == ("ST-DAL", "some")
    assert near["lines"] == [{"line_id": "a", "quantity": 2}]
    assert near["missing"] == [{"line_id": "2", "quantity": 1}]
    assert (near["packages"], near["token"]) == ([], None)
    assert far["token"]


async def test_stores_are_counted_and_within_the_distance(at: At) -> None:
    both = await quoted(at, TUESDAY, cart(MUGS, stores=1))
    close = await quoted(at, TUESDAY, cart(MUGS, within_miles=30, methods=["pickup"]))

    assert [s["node"] for s in both["pickup"]] == ["ST-DAL"]
    assert [s["node"] for s in close["pickup"]] == ["ST-DAL"]
    assert close["ship"] == []


async def test_a_product_goes_by_any_of_its_names(at: At) -> None:
    quote = await quoted(at, TUESDAY, cart(("cup", 1)))

    assert option(quote, "ground")["nodes"] == ["DC-DAL"]


async def test_what_others_have_reserved_is_not_offered(at: At, engine: AsyncEngine) -> None:
    async with transaction(engine) as conn:
        units = [Units(line_id="1", sku="TEE", quantity=5)]
        assert not (await reservations.reserve(conn, Ask("other-R1", "other", units))).missing
    quote = await quoted(at, TUESDAY, cart(("TEE", 4), ("TEE", 2)))
    async with transaction(engine) as conn:
        await reservations.release(conn, "other-R1", "cancelled")

    assert quote["ship"] == []
    assert [(s["line_id"], s["available"]) for s in quote["short"]] == [("2", 1)]
    assert quote["short"][0]["reason"] == "1 of 2 units may be sold now; ask for 1 at most"
    assert [(s["node"], s["has"]) for s in quote["pickup"]] == [("ST-FTW", "all")]


async def test_the_same_question_has_the_same_answer(at: At) -> None:
    body = cart(("TEE", 3), ("MUG", 12), ("MUG", 3), to="60601")
    first, second = [await quoted(at, TUESDAY, body) for _ in range(2)]

    assert {**first, "stock_as_of": ""} == {**second, "stock_as_of": ""}


@pytest.mark.parametrize(
    ("change", "code", "field", "cure"),
    [
        pytest.param(
            {"lines": [{"sku": "MUG", "quantity": 1}, {"sku": "NONE", "quantity": 1}]},
            "unknown_sku",
            "lines.1.sku",
            "NONE is not in the catalogue; correct it",
            id="unknown-sku",
        ),
        pytest.param(
            {"lines": [{"sku": "MUG", "quantity": 0}]},
            "invalid",
            "lines.0.quantity",
            "greater than or equal to 1",
            id="zero-quantity",
        ),
        pytest.param({"lines": []}, "invalid", "lines", "at least 1 item", id="no-lines"),
        pytest.param(
            {"lines": [{"sku": "MUG", "quantity": 1}] * 51},
            "invalid",
            "lines",
            "at most 50 items",
            id="too-many-lines",
        ),
        pytest.param(
            {"lines": [{"sku": "MUG", "quantity": 1, "line_id": "2"}] * 2},
            "invalid",
            "lines",
            "two lines share one",
            id="a-name-twice",
        ),
        pytest.param(
            {"ship_to": {"postal_code": "00000"}},
            "unknown_postal_code",
            "ship_to.postal_code",
            "00000 is no postal code that we know of; correct it",
            id="unknown-postal-code",
        ),
        pytest.param(
            {"ship_to": {}},
            "unknown_postal_code",
            "ship_to.postal_code",
            "none is no postal code",
            id="no-address",
        ),
        pytest.param({"postcode": "75201"}, "invalid", "postcode", "not permitted", id="misspelt"),
        pytest.param(
            {"token_seconds": 3601}, "invalid", "token_seconds", "3600", id="too-long-a-life"
        ),
        pytest.param(
            {"lines": [{"sku": "HAT", "quantity": 1}], "methods": ["ship", "pickup"]},
            "no_option",
            "lines.0",
            "0 of 1 units may be sold now; leave the line out; no store within 100 miles has any",
            id="sold-out",
        ),
        pytest.param(
            {"lines": [{"sku": "TEE", "quantity": 1}, {"sku": "MUG", "quantity": 160}]},
            "no_option",
            "lines.1",
            "110 of 160 units may be sold now; ask for 110 at most",
            id="not-enough",
        ),
        pytest.param(
            {"lines": [{"sku": "LAMP", "quantity": 2}]},
            "no_option",
            "lines.0",
            "0 of 2 units can be shipped there (DC-NYC: does not handle oversized goods)",
            id="nobody-may",
        ),
        pytest.param(
            {"methods": ["pickup"], "ship_to": {"postal_code": "60601"}},
            "no_option",
            "lines.0",
            "no store within 100 miles has any of it; widen within_miles",
            id="no-store",
        ),
    ],
)
async def test_a_no_names_the_field_and_the_cure(
    at: At, change: Json, code: str, field: str, cure: str
) -> None:
    said, errors = await refused(at, {**cart(MUGS, methods=["ship"]), **change})

    assert said == code
    assert cure in errors[field]


async def test_an_unknown_code_with_its_state_is_quoted_for_about_there(at: At) -> None:
    address = {"postal_code": "75999", "region": "TX"}
    quote = await quoted(at, TUESDAY, {**cart(MUGS), "ship_to": address})

    assert quote["located_by"] == "zip3"


async def test_a_quote_is_for_who_may_order(at: At, http: httpx.AsyncClient, key: MakeKey) -> None:
    bound = await key("orders:write", channels=["webshop"])
    of_node = await key("orders:write", nodes=["DC-DAL"])

    assert (await http.post("/v1/promises", json=cart(MUGS))).status_code == 401
    for headers in (bound, of_node, await key("orders:read")):
        answer = await http.post("/v1/promises", json=cart(MUGS), headers=headers)
        assert answer.status_code == 403


async def test_a_quote_writes_nothing_but_the_tokens(at: At, engine: AsyncEngine) -> None:
    await quoted(at, TUESDAY, cart(MUGS))
    before = await counts(engine)
    await quoted(at, TUESDAY, cart(MUGS))
    assert {**await counts(engine), "api_keys": 0} == {**before, "api_keys": 0}
    await quoted(at, TUESDAY, cart(MUGS, token_seconds=600))
    after = await counts(engine)
    assert after.pop("promises") - before.pop("promises") == 4
    assert {**after, "api_keys": 0} == {**before, "api_keys": 0}


async def counts(engine: AsyncEngine) -> dict[str, int]:
    """The rows of each table."""
    async with transaction(engine) as conn:
        return {
            table.name: (await conn.execute(select(func.count()).select_from(table))).scalar_one()
            for table in metadata.sorted_tables
        }


async def test_quotes_wait_their_turn_and_no_longer(
    at: At, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solving, "_PATIENCE", timedelta(milliseconds=50))
    async with solving._turn, solving._turn, at(TUESDAY) as http:
        busy = await http.post("/v1/promises", json=cart(MUGS))
    free = await quoted(at, TUESDAY, cart(MUGS))

    assert (busy.status_code, busy.json()["code"]) == (503, "outage")
    assert busy.headers["Retry-After"] == "1"
    assert free["ship"]


async def test_what_is_short_is_quoted_as_of_when_it_comes(api: Api, at: At) -> None:
    async with transaction(api.services.engine) as conn:
        for ref, node, day in (("a", "DC-NYC", 3), ("b", "DC-DAL", 9), ("c", "DC-DAL", 20)):
            coming = Supply(
                source="erp",
                ref=f"hats-{ref}",
                sequence=1,
                kind="purchase_order",
                node=node,
                sku="HAT",
                quantity=10,
                expected_at=TUESDAY + timedelta(days=day),
                confidence="tentative" if ref == "a" else "firm",
            )
            await supplies.put(conn, coming, "test")
    body = cart(("HAT", 6), MUGS, methods=["ship"], token_seconds=60)
    made = await quoted(at, TUESDAY, body)
    for offer in made["ship"]:
        assert datetime.fromisoformat(offer["available_from"]) == TUESDAY + timedelta(days=9)
        assert datetime.fromisoformat(offer["ship_by"]) >= TUESDAY + timedelta(days=9)
        assert offer["deliver_latest"] > offer["ship_by"]
        assert offer["cutoff"]["seconds"] > timedelta(days=8).total_seconds()
        assert offer["token"] is None
    assert made["ship"]
    [short] = made["short"]
    assert (short["sku"], short["available"]) == ("HAT", 0)
    code, _ = await refused(at, cart(("HAT", 21), methods=["ship"]))
    assert code == "no_option"


async def test_a_node_with_too_many_open_orders_is_in_no_quote(api: Api, at: At) -> None:
    body = cart(("MUG", 1), methods=["ship"], token_seconds=60)
    before = await quoted(at, TUESDAY, body)
    busy = order_of("busy")
    share = a_share("web-busy-F1", "DC-DAL", {"1": 1}, order_id=busy.order_id)
    few = RuleSet.model_validate(
        a_set("few", a_profile("few", a_rule("few", "max_orders", value=1)))
    )
    async with transaction(api.services.engine) as conn:
        await records.accept(conn, busy, "run", a_change(busy, fulfillments=(share,)))
        await rules.save(conn, few, "ann")
        await rules.activate(conn, "few", 1, "ann")
    after = await quoted(at, TUESDAY, body)
    async with transaction(api.services.engine) as conn:
        await rules.archive(conn, "few", 1, "ann")

    assert await nodes_of(api.services.engine, before) == {"DC-DAL"}
    assert await nodes_of(api.services.engine, after) == {"DC-NYC"}


async def nodes_of(engine: AsyncEngine, quote: Json) -> set[str]:
    """Where what the tokens promise comes from."""
    tokens = [offer["token"] for offer in quote["ship"]]
    async with transaction(engine) as conn:
        bodies = await conn.execute(select(promises.c.body).where(promises.c.token.in_(tokens)))
        return {package["node"] for body in bodies.scalars() for package in body["packages"]}
