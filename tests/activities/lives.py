"""Orders whose steps are taken as their workflows take them, with two nodes, on real rows."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from activities.sourcing import Sourcing
from activities.stock import Stock
from cli import sample
from domain.fulfillments import Fulfillment, advance
from domain.kits import units_of
from domain.lifecycle import all_moved, moved, split, units_in, with_fulfillment
from domain.network import Calendar
from domain.orders import Address, Bucket, Line, LineState, Order
from domain.records import Change, OrderState
from storage import network, records, rules, stock
from storage.database import transaction
from storage.tables import metadata
from tests.domain.rules.written import a_profile
from tests.domain.rules.written import rules as a_set
from tests.samples import an_order
from workflows.ports import Allocate, GiveBack, Reserve, Sourced, SourceOrder

NODES = {node.code: node for node in sample.network().nodes}
NEAR, DEAR = NODES["DC-DAL"], NODES["TPL-EDI"]
SKU = next(p.sku for p in sample.network().products if p.handling_class == "standard")
AUSTIN, NEWARK = ("78701", "TX", "Austin"), ("07102", "NJ", "Newark")


def always_open() -> Calendar:
    """Its next cut-off is half a day away."""
    cutoff = (datetime.now(UTC) + timedelta(hours=12)).time()
    days = (0, 1, 2, 3, 4, 5, 6)
    whole: dict[str, Any] = {"opens": time(0), "closes": time(0), "holidays": ""}
    return Calendar(timezone="UTC", weekdays=days, cutoff=cutoff, **whole)


async def housed(
    engine: AsyncEngine, units: dict[str, int], limit: int | None = 9, **profile: Any
) -> AsyncEngine:
    """Two nodes with so many units, and rules by which allocated work waits four hours."""
    names = ", ".join(table.name for table in metadata.sorted_tables)
    patient = a_profile("patient", release_after=timedelta(hours=4), **profile)
    async with transaction(engine) as conn:
        await conn.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
        await network.put_products(conn, sample.network().products)
        await network.put_rate_cards(conn, sample.network().rate_cards)
        for code in (NEAR.code, DEAR.code):
            one = {"calendar": always_open(), "capacity_per_day": limit, "units_per_day": limit}
            await network.put_node(conn, NODES[code].model_copy(update=one))
            if units.get(code):
                await stock.receive(conn, "sample", code, [(SKU, units[code])], "sample", "test")
        await rules.save(conn, a_set("web", patient), "ann")
        await rules.activate(conn, "web", 1, "bob", "")
    return engine


async def receive(engine: AsyncEngine, code: str, units: int) -> None:
    async with transaction(engine) as conn:
        await stock.receive(conn, f"more-{code}", code, [(SKU, units)], "receipt", "test")


class Life:
    """An order, each step as its workflow takes it."""

    def __init__(
        self, engine: AsyncEngine, number: str, where: tuple[str, str, str], **changes: Any
    ) -> None:
        code, region, city = where
        line1 = {"line1": "1 Main St", "country": "US", "name": "Ann"}
        ship_to = Address(city=city, region=region, postal_code=code, **line1)
        line = Line(line_id="1", sku=SKU, quantity=1, unit_price_minor=3000)
        self.order: Order = an_order(number, ship_to=ship_to, lines=(line,), **changes)
        self.state = OrderState(
            order_id=self.order.order_id,
            channel="web",
            channel_order_id=number,
            lines=(LineState.new(line, SKU),),
        )
        self._engine, self._stock, self._seq = engine, Stock(engine), 0

    def change(self, state: OrderState) -> Change:
        self._seq += 1
        self.state = state
        return Change(key=f"run:{self._seq}", at=datetime.now(UTC), seq=self._seq, state=state)

    @property
    def reservation(self) -> str:
        return f"{self.order.order_id}-R1"

    @property
    def waiting(self) -> Fulfillment:
        return self.state.fulfillments[-1]

    async def reserved(self) -> None:
        async with transaction(self._engine) as conn:
            await records.accept(conn, self.order, "run", self.change(self.state))
        units = units_of(self.state.lines, units_in(self.state, Bucket.OPEN))
        held = all_moved(self.state, [Bucket.OPEN], Bucket.RESERVED)
        change = self.change(held.model_copy(update={"reservations": 1}))
        request = Reserve(
            reservation_id=self.reservation,
            order_id=self.order.order_id,
            channel="web",
            units=units,
            node=self.order.pickup_node,
            reserved=change,
            short=change,
        )
        assert (await self._stock.reserve(request)).ok

    async def decided(self, together: str = "") -> Sourced:
        state = self.state
        request = SourceOrder(
            order_id=state.order_id,
            round=state.round + 1,
            units=units_of(state.lines, units_in(state, Bucket.RESERVED)),
            excluded=state.excluded,
            firm_node=self.order.pickup_node,
            promise_by=state.promise_by,
            together=together,
        )
        sourced = await Sourcing(self._engine, 1.0).optimize_source(request)
        if sourced.wait_until is None:
            self.state = state.model_copy(update={"round": request.round})
        return sourced

    async def allocated(self, sourced: Sourced) -> dict[str, str]:
        """The nodes that would not take it, and why; then nothing has moved."""
        before = state = self.state
        made = split(state, self.order, sourced.plan.assignments, sourced.release_at)
        for share in made:
            added = with_fulfillment(state, share)
            state = moved(added, share.lines, Bucket.RESERVED, Bucket.ALLOCATED)
        allocate = Allocate(
            key=f"{self.order.order_id}/round/{state.round}",
            reservation_id=self.reservation,
            fulfillments=made,
            change=self.change(state),
            terms=sourced.terms,
        )
        answer = await self._stock.allocate(allocate)
        assert answer.ok is not bool(answer.dry)
        if not answer.ok:
            self.state = before
        return answer.dry

    async def sourced(self, together: str = "") -> bool:
        """Whether there is a decision; then its work is at its node."""
        sourced = await self.decided(together)
        if sourced.wait_until is None:
            assert await self.allocated(sourced) == {}
        return sourced.wait_until is None

    async def taken_back(self) -> None:
        share = self.waiting
        after = advance(share, "moved")
        assert after is not None
        state = with_fulfillment(self.state, after)
        request = GiveBack(
            key=f"{share.fulfillment_id}/back",
            fulfillment_id=share.fulfillment_id,
            lines=share.lines,
            to="reservation",
            reservation_id=self.reservation,
            change=self.change(moved(state, share.lines, Bucket.ALLOCATED, Bucket.RESERVED)),
        )
        await self._stock.give_back(request)


async def placed(engine: AsyncEngine, *where: tuple[str, str, str]) -> tuple[Life, ...]:
    lives = tuple(Life(engine, str(n), place) for n, place in enumerate(where, 1))
    for life in lives:
        await life.reserved()
        assert await life.sourced()
    return lives
