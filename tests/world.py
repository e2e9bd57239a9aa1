"""Every port, in memory: stock that adds up, nodes that follow a script, and steps that fail."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Literal

from temporalio import activity

from domain.errors import Outage, Refused
from domain.fulfillments import Fulfillment, LineQuantity, NodeEvent, NodeEventType
from domain.lifecycle import with_fulfillment
from domain.orders import TERMINAL
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
Manner = Literal["obeys", "rejects", "refuses", "dead", "keeps", "pending", "shipped_in_secret"]


class World(ports.Orders, ports.Stock, ports.Sourcing, ports.Nodes, ports.Upkeep):
    """
    `stock` is what is free by node and SKU. `manners` say how a node answers: `rejects` says no to
    the request, `dead` never answers, `keeps` refuses a recall, `pending` answers it later,
    `shipped_in_secret` refuses a recall with goods gone. `fail` maps a step to how often it fails,
    and whether before or after its effect.
    """

    def __init__(self, stock: dict[str, dict[str, int]] | None = None) -> None:
        self.stock = stock if stock is not None else {"A": {"mug": 10}, "B": {"mug": 10}}
        self.catalogue = {"mug", "tee"}
        self.manners: dict[str, Manner] = {}
        self.failures: dict[tuple[str, Literal["before", "after"]], int] = {}
        self.outage = False
        self.seen: Counter[str] = Counter()
        self.pause: dict[str, asyncio.Event] = {}
        self.reserved: dict[str, dict[str, int]] = {}
        self.released: set[str] = set()
        self.allocated: dict[str, Counter[str]] = {}
        self.shipped: dict[str, Counter[str]] = {}
        self.done: set[str] = set()
        self.requests: Counter[str] = Counter()
        self.recalls: Counter[str] = Counter()
        self.on_file: dict[str, list[NodeEvent]] = defaultdict(list)
        self.states: dict[str, OrderState] = {}
        self.runs: dict[str, str] = {}
        self.events: dict[str, OrderEvent] = {}
        self.messages: dict[str, Message] = {}
        self.sourced: dict[tuple[str, int], Sourced] = {}
        self.fulfillments: dict[str, Fulfillment] = {}
        self.pickup_window = timedelta(days=3)

    # ---- failing

    @contextmanager
    def _step(self, name: str, key: str = "") -> Iterator[bool]:
        """Yields whether the effect is still to be made."""
        self.seen[name] += 1
        if self.outage and name not in ("dispatch", "recall"):
            raise Outage("postgres")
        self._maybe_fail(name, "before")
        fresh = not key or key not in self.done
        yield fresh
        if key:
            self.done.add(key)
        self._maybe_fail(name, "after")

    def _maybe_fail(self, name: str, when: Literal["before", "after"]) -> None:
        if self.failures.get((name, when), 0) > 0:
            self.failures[name, when] -= 1
            raise Outage(name, f"failed {when} its effect")

    async def _gate(self, name: str) -> None:
        if gate := self.pause.get(name):
            await gate.wait()

    def apply(self, change: Change) -> None:
        self.states[change.state.order_id] = change.state
        for f in change.state.fulfillments:
            self.fulfillments[f.fulfillment_id] = f
        for i, event in enumerate(change.events):
            self.events.setdefault(f"{change.key}:{i}", event)
        for message in change.messages:
            self.messages.setdefault(message.key, message)

    # ---- the ports

    @activity.defn
    async def validate(self, request: ValidateOrder) -> Validated:
        await self._gate("validate")
        with self._step("validate"):
            order = request.order
            known = self.states.get(order.order_id)
            same_run = self.runs.setdefault(order.order_id, request.run) == request.run
            if known is None:
                self.apply(request.change)
            names = {line.line_id: (line.sku, *line.aliases) for line in order.lines}
            skus = {
                line: next((n for n in tried if n in self.catalogue), "")
                for line, tried in names.items()
            }
            if known and known.status in TERMINAL and not same_run:
                return Validated(verdict="duplicate", code="closed")
            if known and known.lines:
                return Validated(verdict="pass", skus=skus, resume=known)
            v = validate(order, skus)
            return Validated(
                verdict=v.outcome, skus=skus, holds=v.holds, code=v.code, reason=v.reason
            )

    @activity.defn
    async def record(self, change: Change) -> None:
        with self._step("record"):
            self.apply(change)

    @activity.defn
    async def reserve(self, request: Reserve) -> Reserved:
        await self._gate("reserve")
        with self._step("reserve") as _:
            if request.reservation_id in self.released:
                raise Refused("released before", code="reservation_released")
            if request.reservation_id not in self.reserved:
                wanted: Counter[str] = Counter()
                for unit in request.units:
                    wanted[unit.sku] += unit.quantity
                missing = {s: q - self.ats(s) for s, q in wanted.items() if self.ats(s) < q}
                if missing:
                    self.apply(request.short)
                    return Reserved(ok=False, missing=missing)
                self.reserved[request.reservation_id] = dict(wanted)
            self.apply(request.reserved)
            return Reserved(ok=True)

    def ats(self, sku: str) -> int:
        free = sum(units.get(sku, 0) for units in self.stock.values())
        return free - sum(r.get(sku, 0) for r in self.reserved.values())

    @activity.defn
    async def release(self, request: Release) -> None:
        with self._step("release"):
            self.reserved.pop(request.reservation_id, None)
            self.released.add(request.reservation_id)
            self.apply(request.change)

    @activity.defn
    async def optimize_source(self, request: SourceOrder) -> Sourced:
        await self._gate("optimize_source")
        with self._step("optimize_source"):
            made = self.sourced.get((request.order_id, request.round))
            if made is None:
                made = self._decide(request)
                self.sourced[request.order_id, request.round] = made
            return made

    def _decide(self, request: SourceOrder) -> Sourced:
        left = {unit.line_id: unit for unit in request.units}
        now = datetime.now(UTC)
        assignments = []
        for node in sorted(self.stock):
            if request.firm_node not in (None, node) or node in request.excluded:
                continue
            taken = []
            free = dict(self.stock[node])
            for line, unit in list(left.items()):
                q = min(unit.quantity, free.get(unit.sku, 0))
                if q:
                    free[unit.sku] -= q
                    taken.append(LineQuantity(line_id=line, quantity=q))
                    rest = unit.quantity - q
                    left.pop(line)
                    if rest:
                        left[line] = unit.model_copy(update={"quantity": rest})
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
        unsourced = tuple(
            LineQuantity(line_id=line, quantity=unit.quantity) for line, unit in left.items()
        )
        plan = Plan(assignments=tuple(assignments), unsourced=unsourced)
        decision = f"{request.order_id}/{request.round}"
        return Sourced(decision_id=decision, solver="greedy", plan=plan)

    @activity.defn
    async def allocate(self, request: Allocate) -> Allocated:
        await self._gate("allocate")
        with self._step("allocate", request.key) as fresh:
            if fresh:
                for f in request.fulfillments:
                    self.allocated[f.fulfillment_id] = Counter()
                    for lq in f.lines:
                        sku = f.skus[lq.line_id]
                        self.stock[f.node][sku] -= lq.quantity
                        self.reserved[request.reservation_id][sku] -= lq.quantity
                        self.allocated[f.fulfillment_id][sku] += lq.quantity
            self.apply(request.change)
            return Allocated(ok=True)

    @activity.defn
    async def give_back(self, request: GiveBack) -> None:
        with self._step("give_back", request.key) as fresh:
            if fresh:
                f = self.fulfillments[request.fulfillment_id]
                for lq in request.lines:
                    sku = f.skus[lq.line_id]
                    self.allocated[f.fulfillment_id][sku] -= lq.quantity
                    self.stock[f.node][sku] += lq.quantity
                    if request.to == "reservation":
                        self.reserved[request.reservation_id][sku] += lq.quantity
            self.apply(request.change)

    @activity.defn
    async def ship(self, request: Ship) -> None:
        with self._step("ship", request.key) as fresh:
            if fresh:
                f = self.fulfillments[request.fulfillment_id]
                gone = self.shipped.setdefault(f.fulfillment_id, Counter())
                for lq in request.lines:
                    sku = f.skus[lq.line_id]
                    self.allocated[f.fulfillment_id][sku] -= lq.quantity
                    gone[sku] += lq.quantity
            self.apply(request.change)

    @activity.defn
    async def open_pickup(self, request: OpenPickup) -> datetime:
        with self._step("open_pickup"):
            window = request.window or timedelta(days=request.days)
            until = request.since + window
            state = request.change.state
            f = next(f for f in state.fulfillments if f.fulfillment_id == request.fulfillment_id)
            after = with_fulfillment(state, f.model_copy(update={"pickup_until": until}))
            self.apply(request.change.model_copy(update={"state": after}))
            return until

    @activity.defn
    async def dispatch(self, fulfillment_id: str) -> Dispatched:
        await self._gate("dispatch")
        with self._step("dispatch"):
            manner = self.manners.get(self.fulfillments[fulfillment_id].node, "obeys")
            if manner == "dead":
                raise Outage("node")
            if manner == "refuses":
                return Dispatched(refused="not our goods")
            if not self.requests[fulfillment_id]:
                self.requests[fulfillment_id] += 1
            if manner == "rejects":
                self.tell(fulfillment_id, NodeEventType.REJECTED)
            return Dispatched(events=tuple(self.on_file[fulfillment_id]))

    @activity.defn
    async def recall(self, request: Recall) -> Recalled:
        with self._step("recall"):
            fid = request.fulfillment_id
            self.recalls[fid] += 1
            manner = self.manners.get(self.fulfillments[fid].node, "obeys")
            if manner == "dead":
                raise Outage("node")
            if manner in ("keeps", "shipped_in_secret"):
                return Recalled(answer="refused", events=tuple(self.on_file[fid]))
            if manner == "pending":
                return Recalled(answer="pending")
            answer = "cancelled" if self.requests[fid] else "never_received"
            return Recalled(answer=answer, events=tuple(self.on_file[fid]))

    def tell(self, fulfillment_id: str, type: NodeEventType, **more: object) -> NodeEvent:
        """A statement of the node, on file."""
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
        self.on_file[fulfillment_id].append(event)
        return event

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
