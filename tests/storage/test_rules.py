"""Rule sets as they are kept: what was said stays, one version of a name holds, all is told."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from cli import sample_rules
from domain.errors import Conflict, NotFound
from domain.rules.conditions import Flawed
from domain.rules.evaluation import choose
from domain.rules.sets import RuleSet
from storage import network
from storage import rules as kept
from storage.database import transaction
from storage.network import Channel
from storage.rules import Kept
from tests.domain.rules.written import a_profile, a_rule, leads_to, rules
from tests.samples import NOON, an_order

SHIP = a_profile("ship", methods=["ship"])


async def saved(engine: AsyncEngine, *sets: RuleSet, by: str = "ann") -> list[Kept]:
    async with transaction(engine) as conn:
        return [await kept.save(conn, one, by) for one in sets]


async def activated(engine: AsyncEngine, name: str, version: int = 1) -> Kept:
    async with transaction(engine) as conn:
        return await kept.activate(conn, name, version, "bob", "peak is over")


async def archived(engine: AsyncEngine, name: str, version: int = 1) -> Kept:
    async with transaction(engine) as conn:
        return await kept.archive(conn, name, version, "bob")


async def active(engine: AsyncEngine) -> list[str]:
    async with transaction(engine) as conn:
        return [version.label for version in await kept.active(conn)]


async def test_names_that_nothing_here_has_are_told(world: AsyncEngine) -> None:
    profile = a_profile(
        "ship",
        a_rule("cold", "capability", what="frozenn"),
        a_rule("out", "exclude", "node.code in ['DC-A', 'DC-X'] || line.sku == 'NONE'"),
        channels=["api", "apii"],
    )
    async with transaction(world) as conn:
        await network.put_channel(conn, Channel(code="api", kind="api"))
    (first,) = await saved(world, rules("web", profile))
    assert first.unknown == (
        "profiles.0.channels.1: there is no channel apii",
        "profiles.0.rules.0.what: there is no handling class frozenn",
        "profiles.0.rules.1.when: there is no node DC-X",
        "profiles.0.rules.1.when: there is no SKU NONE",
    )
    (same,) = await saved(world, rules("web", profile))
    assert first == same
    assert (await activated(world, "web")).unknown == first.unknown


async def test_what_is_saved_is_a_draft_under_the_next_number(world: AsyncEngine) -> None:
    (first,) = await saved(world, rules("web"))
    assert (first.version, first.status, first.actor, first.rules) == (
        1,
        "draft",
        "ann",
        rules("web"),
    )
    (same,) = await saved(world, rules("web"), by="bob")
    assert same == first
    (other,) = await saved(world, rules("web", note="new"))
    assert (other.version, other.rules.note) == (2, "new")
    async with transaction(world) as conn:
        assert await kept.get(conn, "web", 1) == first
        assert (await kept.get(conn, "web")).version == 2
        with pytest.raises(NotFound, match="web@3"):
            await kept.get(conn, "web", 3)
        assert [(one.name, one.version) for one in await kept.listed(conn)] == [
            ("web", 2),
            ("web", 1),
        ]
    assert await active(world) == []


async def test_one_version_of_a_name_is_active_and_who_made_it_so_is_told(
    world: AsyncEngine,
) -> None:
    await saved(world, rules("web"), rules("web", note="two"))
    await activated(world, "web", 1)
    assert await active(world) == ["web@1"]
    await activated(world, "web", 2)
    assert await active(world) == ["web@2"]
    assert (await activated(world, "web", 2)).status == "active"
    await activated(world, "web", 1)
    assert await active(world) == ["web@1"]
    await archived(world, "web", 1)
    assert await active(world) == []
    async with transaction(world) as conn:
        story = await kept.history(conn, "web")
    assert [(e.version, e.action, e.actor, e.note) for e in story] == [
        (1, "saved", "ann", ""),
        (2, "saved", "ann", "two"),
        (1, "activated", "bob", "peak is over"),
        (1, "archived", "bob", "version 2 took its place"),
        (2, "activated", "bob", "peak is over"),
        (2, "archived", "bob", "version 1 took its place"),
        (1, "activated", "bob", "peak is over"),
        (1, "archived", "bob", ""),
    ]


async def test_the_active_set_is_the_one_that_judges_and_is_read_as_it_was_kept(
    world: AsyncEngine,
) -> None:
    peak = {"first": "2026-11-20", "last": "2026-11-20"}
    near = a_rule("near", "exclude", 'node.kind == "store" && node.miles > 50')
    year = rules("year", a_profile("all", near), dates={"blackout": [peak]})
    await saved(world, year, rules("peak", dates=peak))
    await activated(world, "year")
    await activated(world, "peak")
    async with transaction(world) as conn:
        found = await kept.active(conn)
        again = await kept.active(conn)
    assert [version.rules for version in found] == [rules("peak", dates=peak), year]
    assert again[1].rules is found[1].rules
    chosen = choose(found, an_order(), NOON)
    assert chosen is not None
    assert chosen.label == "peak@1"


async def test_two_sets_for_the_same_orders_are_not_active_together(world: AsyncEngine) -> None:
    await saved(world, rules("one"), rules("two", SHIP))
    await activated(world, "one")
    with pytest.raises(Flawed, match="two/ship and one/all, which is active") as refused:
        await activated(world, "two")
    assert refused.value.code == "overlap"
    assert await active(world) == ["one@1"]
    await archived(world, "one")
    await activated(world, "two")


async def test_two_that_activate_at_once_do_not_both_win(world: AsyncEngine) -> None:
    await saved(world, rules("one"), rules("two", SHIP), rules("three", SHIP))
    done = await asyncio.gather(
        *(activated(world, name) for name in ("one", "two", "three")), return_exceptions=True
    )
    assert sum(isinstance(one, Kept) for one in done) == 1
    assert sum(isinstance(one, Flawed) for one in done) == 2
    assert len(await active(world)) == 1


async def test_no_order_is_left_without_a_next_step_whatever_is_done(world: AsyncEngine) -> None:
    first = rules("web", a_profile(**leads_to("last")))
    with pytest.raises(Flawed, match="no rule set last"):
        await saved(world, first)
    await saved(world, rules("last", entry=False), first)
    with pytest.raises(Flawed, match="no rule set last"):
        await activated(world, "web")
    await activated(world, "last")
    await activated(world, "web")
    with pytest.raises(Conflict, match="web@1 is active and goes on to last") as refused:
        await archived(world, "last")
    assert refused.value.code == "in_use"
    narrow = rules("last", SHIP, entry=False)
    await saved(world, narrow)
    with pytest.raises(Flawed, match="last has no profile for"):
        await activated(world, "last", 2)
    with pytest.raises(Flawed, match="for ever"):
        await saved(world, rules("last", a_profile(**leads_to("web")), entry=False))
    assert await active(world) == ["last@1", "web@1"]


async def test_a_set_that_cannot_be_is_not_kept(world: AsyncEngine) -> None:
    with pytest.raises(Flawed, match="line 1, column 6"):
        await saved(world, rules("web", a_profile("a", a_rule("r", "max_nodes", "order.totl > 1"))))
    async with transaction(world) as conn:
        assert await kept.listed(conn) == ()
        assert await kept.history(conn, "web") == ()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rule_sets SET body = '{}'",
        "UPDATE rule_sets SET actor = 'eve'",
        "UPDATE rule_sets SET status = 'draft' WHERE status = 'active'",
        "DELETE FROM rule_sets",
        "UPDATE rule_set_log SET actor = 'eve'",
        "DELETE FROM rule_set_log",
    ],
)
async def test_what_was_said_and_done_stays(world: AsyncEngine, statement: str) -> None:
    await saved(world, rules("web"))
    await activated(world, "web")
    with pytest.raises(DBAPIError):
        async with transaction(world) as conn:
            await conn.execute(text(statement))


async def test_lists_come_in_pages_and_by_status(world: AsyncEngine) -> None:
    versions = [rules(name, note=str(n), entry=False) for name in ("a", "b") for n in range(3)]
    await saved(world, *versions)
    await activated(world, "b", 2)
    seen: list[tuple[str, int]] = []
    async with transaction(world) as conn:
        while page := await kept.listed(conn, after=seen[-1] if seen else None, limit=2):
            seen += [(one.name, one.version) for one in page]
        found = await kept.listed(conn, status="active")
    assert seen == [(name, n) for name in ("a", "b") for n in (3, 2, 1)]
    assert [(one.name, one.version, one.owner) for one in found] == [("b", 2, "ann")]


async def test_the_sample_rules_can_be_activated_again_and_again(world: AsyncEngine) -> None:
    for _ in range(2):
        async with transaction(world) as conn:
            await sample_rules.activate(conn, "test")
    assert await active(world) == ["last-resort@1", "standard@1"]
