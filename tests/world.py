"""Every port, in memory: stock that adds up, nodes that follow a script, and steps that fail."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Literal

from temporalio import activity

from domain.calendars import pickup_until
from domain.errors import Outage, Refused
from domain.fulfillments import Fulfillment, LineQuantity, NodeEvent, NodeEventType
from domain.lifecycle import with_fulfillment
from domain.network import Calendar, Kit
from domain.orders import TERMINAL
from domain.records import Change, Message, OrderEvent
from domain.sourcing.problem import Assignment, CostParts, Outcome, Plan
from domain.sourcing.terms import Terms
from domain.validation import validate
from domain.values import earliest
from tests.holdings import Holdings
from workflows import ports

STEPS = ("validate", "reserve", "optimize_source", "allocate", "dispatch", "ship", "record")
When = Literal["before", "after"]
Manner = Literal["obeys", "rejects", "refuses", "dead", "keeps", "pending", "shipped_in_secret"]
_GIVES_UP = (NodeEventType.REJECTED, NodeEventType.EXCEPTION, NodeEventType.CANCELLED)
_LEAVES = (NodeEventType.SHIPPED, NodeEventType.COLLECTED)


class World(Holdings, ports.Orders, ports.Stock, ports.Sourcing, ports.Nodes, ports.Upkeep):
    """
    `manners` say how a node, or one fulfillment's node,
    answers: `rejects` says no to the request, `dead` never answers, `keeps` refuses a recall,
    `pending` answers it later, `shipped_in_secret` refuses a recall with goods gone. `failures`
    maps a step to how often it fails, before or after its effect; `refusals` a step to its no;
    `pause` holds a step up at its gate; `outage` fails every step of our own. `expected` is when
    named supply has what is missing. `outcome`, `review`, `cools_until`, `release_after`,
    `retry_after` and `terms` are what rules say; sourcing does not see the `unseen` nodes.
    """

    def __init__(
        self,
        stock: dict[str, dict[str, int]] | None = None,
        calendars: Mapping[str, Calendar] | None = None,
    ) -> None:
        super().__init__(stock)
        self.calendars = calendars or {}
        self.catalogue = {"mug", "tee", "gift"}
        self.kits: dict[str, Kit] = {}
        self.manners: dict[str, Manner] = {}
        self.failures: dict[tuple[str, When], int] = {}
        self.refusals: dict[str, str] = {}
        self.pause: dict[str, asyncio.Event] = {}
        self.outage = False
        self.expected: datetime | None = None
        self.outcome = Outcome()
        self.review = False
        self.unseen: set[str] = set()
        self.cools_until: datetime | None = None
        self.release_after: timedelta | None = None
        self.retry_after: timedelta | None = None
        self.together: list[str] = []
        self.terms: dict[str, Terms] = {}
        self.on_terms: list[dict[str, Terms]] = []
        self.seen: Counter[str] = Counter()
        self.calls: list[tuple[str, str]] = []
        self.released: set[str] = set()
        self.done: set[str] = set()
        self.recalls: Counter[str] = Counter()
        self.withdrawn: set[str] = set()
        self.on_file: dict[str, list[NodeEvent]] = defaultdict(list)
        self.last: dict[str, str] = {}
        self.runs: dict[str, str] = {}
        self.writers: dict[str, str] = {}
        self.events: dict[str, OrderEvent] = {}
        self.messages: dict[str, Message] = {}
        self.sourced: dict[tuple[str, int], ports.Sourced] = {}

    # ---- failing

    @asynccontextmanager
    async def _step(self, name: str, of: str, key: str = "") -> AsyncIterator[bool]:
        """Yields whether the effect is still to be made."""
        self.seen[name] += 1
        self.calls.append((name, of))
        if gate := self.pause.get(name):
            await gate.wait()
        if name in self.refusals:
            raise Refused(self.refusals[name], code=name)
        if self.outage and name not in ("dispatch", "recall"):
            raise Outage("postgres")
        self._maybe_fail(name, "before")
        yield not key or key not in self.done
        if key:
            self.done.add(key)
        self._maybe_fail(name, "after")

    def _maybe_fail(self, name: str, when: When) -> None:
        if self.failures.get((name, when), 0) > 0:
            self.failures[name, when] -= 1
            raise Outage(name, f"failed {when} its effect")

    def check(self, change: Change) -> None:
        """The record compares before it is set, as the real one does, and knows one run."""
        run = change.key.partition(":")[0]
        last = self.last.get(change.state.order_id)
        if self.writers.get(change.state.order_id) != run:
            raise Refused("another run has taken over", code="superseded")
        if change.key != last and change.base not in (None, last):
            raise Refused("the record has gone on", code="overtaken")

    def apply(self, change: Change) -> None:
        self.check(change)
        self.last[change.state.order_id] = change.key
        self.states[change.state.order_id] = change.state
        for f in change.state.fulfillments:
            self.fulfillments[f.fulfillment_id] = f
        for i, event in enumerate(change.events):
            self.events.setdefault(f"{change.key}:{i}", event)
        for message in change.messages:
            self.messages.setdefault(message.key, message)

    # ---- the order's record

    @activity.defn
    async def validate(self, request: ports.ValidateOrder) -> ports.Validated:
        order = request.order
        async with self._step("validate", order.order_id):
            known = self.states.get(order.order_id)
            same_run = self.runs.setdefault(order.order_id, request.run) == request.run
            if known is None or known.status not in TERMINAL or same_run:
                self.runs[order.order_id] = request.run
                self.writers[order.order_id] = request.change.key.partition(":")[0]
            if known is None:
                self.apply(request.change)
            names = {line.line_id: (line.sku, *line.aliases) for line in order.lines}
            skus = {
                line: next((n for n in tried if n in self.catalogue), "")
                for line, tried in names.items()
            }
            if known and known.status in TERMINAL and not same_run:
                return ports.Validated(verdict="duplicate", code="closed", resume=known)
            v = validate(order, skus)
            return ports.Validated(
                verdict=v.outcome,
                skus=skus,
                kits={line: self.kits[sku] for line, sku in skus.items() if sku in self.kits},
                holds=v.holds,
                code=v.code,
                reason=v.reason,
                resume=known if known and known.lines else None,
                base=self.last.get(order.order_id),
            )

    @activity.defn
    async def record(self, change: Change) -> None:
        async with self._step("record", change.state.order_id):
            self.apply(change)

    # ---- stock

    @activity.defn
    async def reserve(self, request: ports.Reserve) -> ports.Reserved:
        async with self._step("reserve", request.order_id):
            self.check(request.reserved)
            if request.reservation_id in self.released:
                raise Refused("released before", code="reservation_released")
            if request.reservation_id not in self.reserved:
                wanted: Counter[str] = Counter()
                for unit in request.units:
                    wanted[unit.sku] += unit.quantity
                free = {sku: self.ats(sku, request.node) for sku in wanted}
                missing = {sku: q - free[sku] for sku, q in wanted.items() if free[sku] < q}
                if missing:
                    self.apply(request.short)
                    expected = self.expected if request.waits else None
                    return ports.Reserved(ok=False, missing=missing, expected=expected)
                self.reserved[request.reservation_id] = wanted
            self.apply(request.reserved)
            return ports.Reserved(ok=True)

    @activity.defn
    async def release(self, request: ports.Release) -> None:
        async with self._step("release", request.change.state.order_id):
            self.check(request.change)
            self.reserved.pop(request.reservation_id, None)
            self.released.add(request.reservation_id)
            self.apply(request.change)

    @activity.defn
    async def allocate(self, request: ports.Allocate) -> ports.Allocated:
        async with self._step("allocate", request.change.state.order_id, request.key) as fresh:
            self.check(request.change)
            self.on_terms.append(request.terms)
            if fresh and (dry := self._dry(request.fulfillments)):
                return ports.Allocated(ok=False, dry=dry)
            for f in request.fulfillments if fresh else ():
                units = self.allocated[f.fulfillment_id] = Counter()
                for lq in f.lines:
                    sku = f.skus[lq.line_id]
                    self.stock[f.node][sku] -= lq.quantity
                    reservation = self.reserved[request.reservation_id]
                    self.take(reservation, sku, lq.quantity, request.key)
                    units[sku] += lq.quantity
            self.apply(request.change)
            return ports.Allocated(ok=True)

    def _dry(self, fulfillments: tuple[Fulfillment, ...]) -> dict[str, str]:
        wanted: Counter[tuple[str, str]] = Counter()
        for f in fulfillments:
            for lq in f.lines:
                wanted[f.node, f.skus[lq.line_id]] += lq.quantity
        return {n: s for (n, s), q in wanted.items() if self.stock.get(n, {}).get(s, 0) < q}

    @activity.defn
    async def give_back(self, request: ports.GiveBack) -> None:
        async with self._step("give_back", request.fulfillment_id, request.key) as fresh:
            self.check(request.change)
            f = self.fulfillments[request.fulfillment_id]
            for lq in request.lines if fresh else ():
                sku = f.skus[lq.line_id]
                self.take(self.allocated[f.fulfillment_id], sku, lq.quantity, request.key)
                self.stock[f.node][sku] += lq.quantity
                if request.to == "reservation":
                    self.reserved[request.reservation_id][sku] += lq.quantity
            self.apply(request.change)

    @activity.defn
    async def ship(self, request: ports.Ship) -> None:
        async with self._step("ship", request.fulfillment_id, request.key) as fresh:
            self.check(request.change)
            f = self.fulfillments[request.fulfillment_id]
            gone = self.shipped.setdefault(f.fulfillment_id, Counter())
            for lq in request.lines if fresh else ():
                sku = f.skus[lq.line_id]
                self.take(self.allocated[f.fulfillment_id], sku, lq.quantity, request.key)
                gone[sku] += lq.quantity
            self.apply(request.change)

    @activity.defn
    async def open_pickup(self, request: ports.OpenPickup) -> datetime:
        state = request.change.state
        f = next(f for f in state.fulfillments if f.fulfillment_id == request.fulfillment_id)
        async with self._step("open_pickup", f.fulfillment_id):
            calendar = self.calendars.get(f.node)
            if request.window is None and calendar is not None:
                until = pickup_until(calendar, request.since, request.days)
            else:
                until = request.since + (request.window or timedelta(days=request.days))
            after = with_fulfillment(state, f.model_copy(update={"pickup_until": until}))
            self.apply(request.change.model_copy(update={"state": after}))
            return until

    # ---- sourcing: the first node in the alphabet that has something

    @activity.defn
    async def optimize_source(self, request: ports.SourceOrder) -> ports.Sourced:
        async with self._step("optimize_source", request.order_id):
            made = self.sourced.get((request.order_id, request.round))
            self.together.append(request.together)
            if made is None and self.cools_until is not None and not request.alone:
                return ports.Sourced(
                    decision_id="",
                    solver="",
                    plan=Plan(assignments=()),
                    wait_until=self.cools_until,
                )
            if made is None:
                made = self._decide(request)
                self.sourced[request.order_id, request.round] = made
            return made

    def _decide(self, request: ports.SourceOrder) -> ports.Sourced:
        left = {unit.line_id: unit.quantity for unit in request.units}
        now = datetime.now(UTC)
        ends = self._ends(request)
        clock = request.asked_at or now
        shut = {n for n in request.excluded if n not in ends or ends[n] > clock} | self.unseen
        assignments = []
        for node in sorted(self.stock):
            if request.firm_node not in (None, node) or node in shut:
                continue
            taken, free = [], dict(self.stock[node])
            for unit in request.units:
                q = min(left[unit.line_id], free.get(unit.sku, 0))
                if q > 0:
                    free[unit.sku] -= q
                    left[unit.line_id] -= q
                    taken.append(LineQuantity(line_id=unit.line_id, quantity=q))
            if taken:
                assignments.append(
                    Assignment(
                        node=node,
                        service="ground",
                        carrier="ups",
                        lines=tuple(taken),
                        ship_by=now + timedelta(days=1),
                        deliver_by=now + timedelta(days=3),
                        cost=CostParts(shipping=800),
                    )
                )
        unsourced = tuple(LineQuantity(line_id=i, quantity=q) for i, q in left.items() if q)
        plan = Plan(assignments=tuple(assignments), unsourced=unsourced)
        decision = f"{request.order_id}/{request.round}"
        return ports.Sourced(
            decision_id=decision,
            solver="greedy",
            plan=plan,
            outcome=self.outcome,
            review=self.review,
            release_at=dict.fromkeys((a.node for a in assignments), now + self.release_after)
            if self.release_after
            else {},
            terms=self.terms,
            again_at=earliest(*(end for end in ends.values() if end > clock))
            if unsourced
            else None,
        )

    def _ends(self, request: ports.SourceOrder) -> dict[str, datetime]:
        """When the nodes that gave the order back may be asked again."""
        wait = self.retry_after
        return {node: at + wait for node, at in request.excluded_at.items()} if wait else {}

    # ---- the nodes

    def manner(self, fulfillment_id: str) -> Manner:
        by_node = self.manners.get(self.fulfillments[fulfillment_id].node, "obeys")
        return self.manners.get(fulfillment_id, by_node)

    @activity.defn
    async def dispatch(self, fulfillment_id: str) -> ports.Dispatched:
        if self.states[self.fulfillments[fulfillment_id].order_id].holds:
            return ports.Dispatched(held=True)
        async with self._step("dispatch", fulfillment_id):
            manner = self.manner(fulfillment_id)
            if manner == "dead":
                raise Outage("node")
            never = fulfillment_id in self.withdrawn and not self.gone[fulfillment_id]
            if manner == "refuses" or never:
                return ports.Dispatched(refused="not our goods")
            if not self.requests[fulfillment_id]:
                self.requests[fulfillment_id] += 1
            if manner == "rejects":
                self.tell(fulfillment_id, NodeEventType.REJECTED)
            return ports.Dispatched(events=tuple(self.on_file[fulfillment_id]))

    @activity.defn
    async def recall(self, request: ports.Recall) -> ports.Recalled:
        fid = request.fulfillment_id
        async with self._step("recall", fid):
            self.recalls[fid] += 1
            manner = self.manner(fid)
            if manner == "dead":
                raise Outage("node")
            if manner == "shipped_in_secret":
                self.let_go(fid)
            if manner == "keeps" or self.all_gone(fid):
                return ports.Recalled(answer="refused", events=tuple(self.on_file[fid]))
            if manner == "pending":
                return ports.Recalled(answer="pending")
            self.withdrawn.add(fid)
            answer = "cancelled" if self.requests[fid] else "never_received"
            return ports.Recalled(answer=answer, events=tuple(self.on_file[fid]))

    def tell(self, fulfillment_id: str, type: NodeEventType, **more: object) -> NodeEvent:
        """A statement of the node, on file; what it says is so."""
        f = self.fulfillments[fulfillment_id]
        event = NodeEvent.model_validate(
            {
                "event_id": f"{fulfillment_id}-{type}",
                "fulfillment_id": fulfillment_id,
                "node": f.node,
                "type": type,
                "occurred_at": datetime.now(UTC),
                **more,
            }
        )
        said = self.on_file[fulfillment_id]
        if known := next((e for e in said if e.event_id == event.event_id), None):
            return known
        said.append(event)
        if event.type in _LEAVES:
            self.let_go(fulfillment_id, event.lines)
        if event.type in _GIVES_UP or (event.lines and event.final):
            self.withdrawn.add(fulfillment_id)
        return event

    @activity.defn
    async def recover_abandoned(self) -> tuple[ports.Abandoned, ...]:
        return ()

    @activity.defn
    async def reoptimise(self, request: ports.Reoptimise) -> ports.Reoptimised:
        return ports.Reoptimised(looked_at=0, moved=0, saves_minor=0)

    @activity.defn
    async def poll_channel(self, channel: str) -> int:
        return 0
