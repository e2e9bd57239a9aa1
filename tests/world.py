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
from domain.network import Calendar
from domain.orders import GONE, TERMINAL
from domain.records import Change, Message, OrderEvent, OrderState
from domain.sourcing.problem import Assignment, CostParts, Plan
from domain.validation import validate
from workflows import ports
from workflows.ports import (
    Abandoned,
    Allocate,
    Allocated,
    Dispatched,
    GiveBack,
    OpenPickup,
    Recall,
    Recalled,
    Release,
    Reserve,
    Reserved,
    Ship,
    Sourced,
    SourceOrder,
    Validated,
    ValidateOrder,
)

STEPS = ("validate", "reserve", "optimize_source", "allocate", "dispatch", "ship", "record")
When = Literal["before", "after"]
Manner = Literal["obeys", "rejects", "refuses", "dead", "keeps", "pending", "shipped_in_secret"]
_GIVES_UP = (NodeEventType.REJECTED, NodeEventType.EXCEPTION, NodeEventType.CANCELLED)
_LEAVES = (NodeEventType.SHIPPED, NodeEventType.COLLECTED)


class World(ports.Orders, ports.Stock, ports.Sourcing, ports.Nodes, ports.Upkeep):
    """
    `stock` is what is free by node and SKU. `manners` say how a node, or one fulfillment's node,
    answers: `rejects` says no to the request, `dead` never answers, `keeps` refuses a recall,
    `pending` answers it later, `shipped_in_secret` refuses a recall with goods gone. `failures`
    maps a step to how often it fails, before or after its effect; `refusals` a step to its no;
    `pause` holds a step up at its gate; `outage` fails every step of our own. `gone` are the goods
    that really left their node.
    """

    def __init__(
        self,
        stock: dict[str, dict[str, int]] | None = None,
        calendars: Mapping[str, Calendar] | None = None,
    ) -> None:
        self.stock = stock if stock is not None else {"A": {"mug": 10}, "B": {"mug": 10}}
        self.on_hand = {node: Counter(units) for node, units in self.stock.items()}
        self.calendars = calendars or {}
        self.catalogue = {"mug", "tee"}
        self.manners: dict[str, Manner] = {}
        self.failures: dict[tuple[str, When], int] = {}
        self.refusals: dict[str, str] = {}
        self.pause: dict[str, asyncio.Event] = {}
        self.outage = False
        self.seen: Counter[str] = Counter()
        self.calls: list[tuple[str, str]] = []
        self.wrong: list[str] = []
        self.reserved: dict[str, Counter[str]] = {}
        self.released: set[str] = set()
        self.allocated: dict[str, Counter[str]] = {}
        self.shipped: dict[str, Counter[str]] = {}
        self.done: set[str] = set()
        self.requests: Counter[str] = Counter()
        self.recalls: Counter[str] = Counter()
        self.withdrawn: set[str] = set()
        self.gone: dict[str, Counter[str]] = defaultdict(Counter)
        self.on_file: dict[str, list[NodeEvent]] = defaultdict(list)
        self.states: dict[str, OrderState] = {}
        self.last: dict[str, str] = {}
        self.runs: dict[str, str] = {}
        self.writers: dict[str, str] = {}
        self.events: dict[str, OrderEvent] = {}
        self.messages: dict[str, Message] = {}
        self.sourced: dict[tuple[str, int], Sourced] = {}
        self.fulfillments: dict[str, Fulfillment] = {}

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

    def _take(self, units: Counter[str], sku: str, quantity: int, what: str) -> None:
        units[sku] -= quantity
        if units[sku] < 0:
            self.wrong.append(f"{what}: {sku} fell to {units[sku]}")

    # ---- the order's record

    @activity.defn
    async def validate(self, request: ValidateOrder) -> Validated:
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
                return Validated(verdict="duplicate", code="closed", resume=known)
            v = validate(order, skus)
            return Validated(
                verdict=v.outcome,
                skus=skus,
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

    def receive(self, node: str, sku: str, quantity: int) -> None:
        for shelf in (self.stock, self.on_hand):
            units = shelf.setdefault(node, Counter())
            units[sku] = units.get(sku, 0) + quantity

    def ats(self, sku: str, node: str | None = None) -> int:
        shelves = [self.stock[node]] if node else self.stock.values()
        free = sum(units.get(sku, 0) for units in shelves)
        return free - sum(r[sku] for r in self.reserved.values())

    @activity.defn
    async def reserve(self, request: Reserve) -> Reserved:
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
                    return Reserved(ok=False, missing=missing)
                self.reserved[request.reservation_id] = wanted
            self.apply(request.reserved)
            return Reserved(ok=True)

    @activity.defn
    async def release(self, request: Release) -> None:
        async with self._step("release", request.change.state.order_id):
            self.check(request.change)
            self.reserved.pop(request.reservation_id, None)
            self.released.add(request.reservation_id)
            self.apply(request.change)

    @activity.defn
    async def allocate(self, request: Allocate) -> Allocated:
        async with self._step("allocate", request.change.state.order_id, request.key) as fresh:
            self.check(request.change)
            if fresh and (dry := self._dry(request.fulfillments)):
                return Allocated(ok=False, dry=dry)
            for f in request.fulfillments if fresh else ():
                units = self.allocated[f.fulfillment_id] = Counter()
                for lq in f.lines:
                    sku = f.skus[lq.line_id]
                    self.stock[f.node][sku] -= lq.quantity
                    reservation = self.reserved[request.reservation_id]
                    self._take(reservation, sku, lq.quantity, request.key)
                    units[sku] += lq.quantity
            self.apply(request.change)
            return Allocated(ok=True)

    def _dry(self, fulfillments: tuple[Fulfillment, ...]) -> dict[str, str]:
        wanted: Counter[tuple[str, str]] = Counter()
        for f in fulfillments:
            for lq in f.lines:
                wanted[f.node, f.skus[lq.line_id]] += lq.quantity
        return {n: s for (n, s), q in wanted.items() if self.stock.get(n, {}).get(s, 0) < q}

    @activity.defn
    async def give_back(self, request: GiveBack) -> None:
        async with self._step("give_back", request.fulfillment_id, request.key) as fresh:
            self.check(request.change)
            f = self.fulfillments[request.fulfillment_id]
            for lq in request.lines if fresh else ():
                sku = f.skus[lq.line_id]
                self._take(self.allocated[f.fulfillment_id], sku, lq.quantity, request.key)
                self.stock[f.node][sku] += lq.quantity
                if request.to == "reservation":
                    self.reserved[request.reservation_id][sku] += lq.quantity
            self.apply(request.change)

    @activity.defn
    async def ship(self, request: Ship) -> None:
        async with self._step("ship", request.fulfillment_id, request.key) as fresh:
            self.check(request.change)
            f = self.fulfillments[request.fulfillment_id]
            gone = self.shipped.setdefault(f.fulfillment_id, Counter())
            for lq in request.lines if fresh else ():
                sku = f.skus[lq.line_id]
                self._take(self.allocated[f.fulfillment_id], sku, lq.quantity, request.key)
                gone[sku] += lq.quantity
            self.apply(request.change)

    @activity.defn
    async def open_pickup(self, request: OpenPickup) -> datetime:
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
    async def optimize_source(self, request: SourceOrder) -> Sourced:
        async with self._step("optimize_source", request.order_id):
            made = self.sourced.get((request.order_id, request.round))
            if made is None:
                made = self._decide(request)
                self.sourced[request.order_id, request.round] = made
            return made

    def _decide(self, request: SourceOrder) -> Sourced:
        left = {unit.line_id: unit.quantity for unit in request.units}
        now = datetime.now(UTC)
        assignments = []
        for node in sorted(self.stock):
            if request.firm_node not in (None, node) or node in request.excluded:
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
        return Sourced(decision_id=decision, solver="greedy", plan=plan)

    # ---- the nodes

    def manner(self, fulfillment_id: str) -> Manner:
        by_node = self.manners.get(self.fulfillments[fulfillment_id].node, "obeys")
        return self.manners.get(fulfillment_id, by_node)

    @activity.defn
    async def dispatch(self, fulfillment_id: str) -> Dispatched:
        async with self._step("dispatch", fulfillment_id):
            manner = self.manner(fulfillment_id)
            if manner == "dead":
                raise Outage("node")
            never = fulfillment_id in self.withdrawn and not self.gone[fulfillment_id]
            if manner == "refuses" or never:
                return Dispatched(refused="not our goods")
            if not self.requests[fulfillment_id]:
                self.requests[fulfillment_id] += 1
            if manner == "rejects":
                self.tell(fulfillment_id, NodeEventType.REJECTED)
            return Dispatched(events=tuple(self.on_file[fulfillment_id]))

    @activity.defn
    async def recall(self, request: Recall) -> Recalled:
        fid = request.fulfillment_id
        async with self._step("recall", fid):
            self.recalls[fid] += 1
            manner = self.manner(fid)
            if manner == "dead":
                raise Outage("node")
            if manner == "shipped_in_secret":
                self.let_go(fid)
            if manner == "keeps" or self._all_gone(fid):
                return Recalled(answer="refused", events=tuple(self.on_file[fid]))
            if manner == "pending":
                return Recalled(answer="pending")
            self.withdrawn.add(fid)
            answer = "cancelled" if self.requests[fid] else "never_received"
            return Recalled(answer=answer, events=tuple(self.on_file[fid]))

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

    def _all_gone(self, fulfillment_id: str) -> bool:
        gone = self.gone[fulfillment_id]
        return all(
            gone[lq.line_id] >= lq.quantity for lq in self.fulfillments[fulfillment_id].lines
        )

    def let_go(self, fulfillment_id: str, lines: tuple[LineQuantity, ...] = ()) -> None:
        """The goods leave the node: these lines of the fulfillment, or all that is still there."""
        f, gone = self.fulfillments[fulfillment_id], self.gone[fulfillment_id]
        for lq in lines or f.lines:
            gone[lq.line_id] += lq.quantity if lines else lq.quantity - gone[lq.line_id]

    @activity.defn
    async def recover_abandoned(self) -> tuple[Abandoned, ...]:
        return ()

    @activity.defn
    async def poll_channel(self, channel: str) -> int:
        return 0

    # ---- what must hold at the end

    def leftovers(self) -> list[str]:
        """What is still held anywhere."""
        found = [f"reserved {r}: {u}" for r, u in self.reserved.items() if any(u.values())]
        return found + [f"allocated {f}: {u}" for f, u in self.allocated.items() if any(u.values())]

    def shipped_units(self) -> int:
        return sum(sum(units.values()) for units in self.shipped.values())

    def problems(self) -> list[str]:
        """Every invariant that does not hold once all orders are closed."""
        found = [*self.wrong, *self.leftovers()]
        for node, units in self.on_hand.items():
            for sku, had in units.items():
                left = sum(
                    self.shipped.get(fid, Counter())[sku]
                    for fid, f in self.fulfillments.items()
                    if f.node == node
                )
                if self.stock[node].get(sku, 0) + left != had:
                    found.append(f"{sku} at {node}: {had} were there, {left} left")
        for order_id, state in self.states.items():
            found += [f"{order_id}: {what}" for what in self._unsound(state)]
        return found

    def _unsound(self, state: OrderState) -> list[str]:
        found = [] if state.status in TERMINAL else [f"is {state.status}"]
        for line in state.lines:
            if sum(line.buckets.values()) != line.ordered:
                found.append(f"line {line.line_id}: {line.buckets} of {line.ordered}")
            out = sum(self.gone[f.fulfillment_id][line.line_id] for f in state.fulfillments)
            if out > line.ordered:
                found.append(f"line {line.line_id}: {out} left their nodes, {line.ordered} ordered")
            if out != line.units(*GONE):
                found.append(f"line {line.line_id}: {out} left their nodes, {line.buckets} told")
        asked = [self.requests[f.fulfillment_id] for f in state.fulfillments]
        return found if max(asked, default=0) <= 1 else [*found, f"asked {asked} times"]
