"""What rules hold back is not sold through the batcher either, however many ask at once."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.network import Product
from domain.orders import Units
from domain.stock_rules import Rule, RuleKind, Subject
from storage import audit, availability, database, ledger, network, stock_rules, taking
from storage.asks import Answer, Ask
from storage.batching import Batcher
from storage.database import transaction
from tests.samples import a_node
from tests.storage.conftest import NODES, stocked

SAFETY, THRESHOLD, CAP, GUARANTEE, VISIBILITY, FEW_LEFT = (
    RuleKind.SAFETY,
    RuleKind.THRESHOLD,
    RuleKind.CAP,
    RuleKind.GUARANTEE,
    RuleKind.VISIBILITY,
    RuleKind.FEW_LEFT,
)
SHELVES = {("A", "DC-A"): 40, ("A", "DC-B"): 30, ("A", "ST-C"): 10}


@pytest.fixture
async def doors(world: AsyncEngine, postgres_url: str) -> AsyncIterator[tuple[Batcher, Batcher]]:
    """Those of two processes."""
    other = database.engine(postgres_url)
    yield Batcher(world), Batcher(other)
    await other.dispose()


def ask(name: str, channel: str, quantity: int = 1, sku: str = "A", node: str | None = None) -> Ask:
    units = [Units(line_id="1", sku=sku, quantity=quantity)]
    return Ask(name, name, units, node, channel)


async def put(engine: AsyncEngine, *rules: Rule, removed: Sequence[Subject] = ()) -> None:
    async with transaction(engine) as conn:
        await stock_rules.put(conn, rules, "test", removed=removed)


async def storm(doors: Sequence[Batcher], count: int, channels: Sequence[str]) -> Counter[str]:
    """So many orders of one unit at the same moment, in turn; how many each channel got."""
    sold: Counter[str] = Counter()

    async def order(number: int) -> None:
        channel = channels[number % len(channels)]
        door = doors[number // len(channels) % len(doors)]
        answer = await door.reserve(ask(f"{channel}{number}", channel))
        sold[channel] += sum(answer.taken.values())

    await asyncio.gather(*(order(number) for number in range(count)))
    return sold


async def held(engine: AsyncEngine) -> Counter[str]:
    """What the rows say that each channel holds."""
    async with transaction(engine) as conn:
        rows = await conn.execute(
            text(
                "SELECT channel, sum(quantity) AS units FROM reservation_lines"
                " JOIN reservations USING (reservation_id) GROUP BY channel"
            )
        )
        assert [f for f in await audit.audit(conn) if f.invariant in {1, 2, 5}] == []
        return Counter({row.channel: row.units for row in rows if row.units})


@pytest.mark.parametrize(
    ("rules", "most"),
    [
        ([Rule(kind=SAFETY, units=5)], {"web": 65, "outlet": 65, "": 65}),
        ([Rule(kind=SAFETY, sku="A", node="DC-A", units=30)], {"": 50}),
        ([Rule(kind=THRESHOLD, units=30)], {"": 50}),
        ([Rule(kind=THRESHOLD, channel="web", units=60)], {"web": 20, "": 80}),
        ([Rule(kind=CAP, channel="web", units=12)], {"web": 12, "": 62}),
        ([Rule(kind=CAP, channel="web", percent=25)], {"web": 20, "": 70}),
        ([Rule(kind=GUARANTEE, channel="mall", units=33)], {"": 47}),
        ([Rule(kind=VISIBILITY, node="DC-A", ship=False, pickup=False)], {"": 40}),
        (
            [Rule(kind=VISIBILITY, node="DC-A", channel="web", ship=False, pickup=False)],
            {"web": 40, "": 80},
        ),
        (
            [
                Rule(kind=SAFETY, units=4),
                Rule(kind=THRESHOLD, channel="outlet", units=7),
                Rule(kind=CAP, channel="web", units=9),
            ],
            {"web": 9, "outlet": 61, "": 59},
        ),
    ],
)
async def test_100_orders_of_two_channels_at_once_get_no_more_than_the_definition_allows(
    world: AsyncEngine, doors: tuple[Batcher, Batcher], rules: list[Rule], most: dict[str, int]
) -> None:
    await stocked(world, SHELVES)
    await put(world, *rules)
    sold = await storm(doors, 100, ("web", "outlet"))
    assert sold == await held(world)
    assert sold.total() <= most[""]
    assert all(sold[channel] <= most.get(channel, 80) for channel in sold)
    async with transaction(world) as conn:
        sale = await availability.open_sale(conn, await ledger.lock_pool(conn, ["A"]))
        left = {channel: sale.left("A", channel) for channel in ("web", "outlet")}
    # All that was refused was refused for a reason: 50 asked for each channel.
    assert all(sold[channel] == 50 or left[channel] == 0 for channel in left)


async def test_a_rule_that_is_put_in_the_middle_of_a_storm_is_obeyed_from_its_commit_on(
    world: AsyncEngine, doors: tuple[Batcher, Batcher]
) -> None:
    """Orders guess until then; each that begins after the rule's commit sees it."""
    await stocked(world, {("A", "DC-A"): 5000})
    under_way, over = asyncio.Event(), asyncio.Event()
    begun_after: list[Answer] = []
    answered = 0

    async def caller(door: Batcher, name: str) -> None:
        nonlocal answered
        for number in range(10_000):
            late = over.is_set()
            answer = await door.reserve(ask(f"{name}-{number}", "web"))
            answered += 1
            if answered == 200:
                under_way.set()
            if late:
                begun_after.append(answer)
                return

    async def change() -> None:
        await under_way.wait()
        await put(world, Rule(kind=SAFETY, sku="A", units=5000))
        over.set()

    callers = [caller(doors[n % 2], f"R{n}") for n in range(16)]
    await asyncio.gather(change(), *callers)
    assert begun_after == [Answer({}, {"A": 1})] * 16
    assert (await held(world)).total() >= 200


@pytest.mark.parametrize("sku", ["A", ""], ids=["of a SKU", "of all"])
async def test_a_guess_waits_for_a_rule_that_is_being_put_and_obeys_it(
    world: AsyncEngine, doors: tuple[Batcher, Batcher], sku: str
) -> None:
    await stocked(world, SHELVES)
    async with transaction(world) as conn:
        await stock_rules.put(conn, [Rule(kind=SAFETY, sku=sku, units=100)], "test")
        asked = asyncio.create_task(doors[1].reserve(ask("R1", "web")))
        done, _ = await asyncio.wait([asked], timeout=0.3)
        assert not done, "it would sell what the rule holds back"
    assert await asked == Answer({}, {"A": 1})


async def test_what_is_held_back_no_more_is_sold_again(
    world: AsyncEngine, doors: tuple[Batcher, Batcher]
) -> None:
    await stocked(world, SHELVES)
    await put(world, Rule(kind=SAFETY, units=100))
    assert (await storm(doors[:1], 20, ("web",))).total() == 0
    await put(world, removed=[Subject(kind=SAFETY)])
    assert (await storm(doors[:1], 20, ("web",))).total() == 20
    assert await held(world) == {"web": 20}


async def test_pickups_and_shipped_orders_of_one_batch_share_what_there_is(
    world: AsyncEngine, doors: tuple[Batcher, Batcher]
) -> None:
    await stocked(world, {("A", "DC-A"): 3, ("A", "ST-C"): 6})
    await put(
        world,
        Rule(kind=SAFETY, node="ST-C", units=1),
        Rule(kind=CAP, channel="mall", units=4),
        Rule(kind=VISIBILITY, node="ST-C", channel="outlet", ship=True, pickup=False),
    )
    wanted = [
        ask("P1", "mall", 2, node="ST-C"),
        ask("P2", "mall", 3, node="ST-C"),  # of its four it has two
        ask("P3", "outlet", 1, node="ST-C"),  # is not offered
        ask("P4", "web", 1, node="DC-A"),  # no store
        ask("R1", "web", 4),
        ask("P5", "web", 3, node="ST-C"),  # two are left, for all
        ask("P6", "web", 2, node="ST-C"),
        ask("R2", "outlet", 1),
    ]
    answers = await asyncio.gather(*(doors[0].reserve(wish) for wish in wanted))
    missing = [answer.missing.get("A", 0) for answer in answers]
    assert missing == [0, 1, 1, 1, 0, 1, 0, 1]
    assert await held(world) == {"mall": 2, "web": 6}


async def test_a_node_that_does_not_ship_is_not_sold_from_by_a_guess(
    world: AsyncEngine, doors: tuple[Batcher, Batcher]
) -> None:
    await stocked(world, SHELVES)
    async with transaction(world) as conn:
        await network.put_node(conn, a_node("DC-A", ships=False))
    assert (await storm(doors, 100, ("web",))).total() == 40


def _some_rules(chance: random.Random) -> list[Rule]:
    """A few, each of one of the kinds, about one of what there is."""
    goods: tuple[dict[str, str], ...] = (
        {},
        {"sku": "A"},
        {"sku": "B"},
        {"category": "toys"},
        {"category": "tools"},
    )
    made = []
    for kind in chance.choices(list(RuleKind), k=chance.randint(0, 2)):
        channel = {"channel": chance.choice(("web", "outlet"))}
        if kind is VISIBILITY:
            said = {"ship": chance.random() < 0.6, "pickup": True, "node": chance.choice(NODES)}
            made.append(Rule(kind=kind, **said, **chance.choice(({}, channel))))
            continue
        about = dict(chance.choice(goods))
        if kind in {CAP, GUARANTEE} or (kind is not SAFETY and chance.random() < 0.5):
            about |= channel
        if kind is SAFETY and chance.random() < 0.5:
            about["node"] = chance.choice(NODES)
        made.append(Rule(kind=kind, units=chance.choice((1, 4, 90)), **about))
    return made


@pytest.mark.parametrize("seed", range(3))
async def test_where_nothing_is_held_back_the_pool_says_what_may_be_sold(
    world: AsyncEngine, seed: int
) -> None:
    """And where the definition leaves less than the pool has, the guess is told so."""
    chance = random.Random(seed)  # noqa: S311
    await stocked(world, {(sku, node): 6 for sku in "ABC" for node in NODES})
    async with transaction(world) as conn:
        await network.put_products(conn, [Product(sku="B", category="toys")])
        await taking.look(conn, [ask("R1", "web", 2), ask("R2", "outlet", 2, sku="B")])
    seen: Counter[bool] = Counter()
    for _ in range(60):
        async with world.connect() as conn:
            for code in NODES:
                await network.put_node(conn, a_node(code, ships=chance.random() < 0.9))
            await stock_rules.put(conn, _some_rules(chance), "test")
            pool = await ledger.lock_pool(conn, list("ABC"))
            sale = await availability.open_sale(conn, pool)
            for sku, channel in ((s, c) for s in pool for c in ("web", "outlet")):
                held_back = (
                    await conn.execute(
                        text("SELECT held_back(ARRAY[:sku], ARRAY[:channel])"),
                        {"sku": sku, "channel": channel},
                    )
                ).scalar_one()
                seen[held_back] += 1
                assert held_back or sale.left(sku, channel) == pool[sku]
    assert min(seen.values()) > 30, seen
