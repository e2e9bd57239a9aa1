"""Orders as they are written down: intake, verdict, and every change of their record."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from domain.orders import TERMINAL
from domain.records import Change
from domain.validation import validate
from storage import backorders, inbox, kits, network, records, reservations
from storage.database import transaction
from workflows import ports
from workflows.ports import Validated, ValidateOrder


class Orders(ports.Orders):
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    @activity.defn
    async def validate(self, request: ValidateOrder) -> Validated:
        """
        Write the order down if it is new, and say whether it may go on.

        An order that is under way in our records goes on from there, whichever run asks: a workflow
        id has one open run. One that is closed there is a duplicate, but for its own chain of runs.
        """
        order = request.order
        async with transaction(self._engine) as conn:
            known = await records.accept(conn, order, request.run, request.change)
            names = [(line.sku, *line.aliases) for line in order.lines]
            found = await network.resolve_skus(conn, names)
            made_of = await kits.recipes(conn, [sku for sku in found if sku])
            store = await network.node(conn, order.pickup_node) if order.pickup_node else None
        skus = {line.line_id: sku or "" for line, sku in zip(order.lines, found, strict=True)}
        if known.state.status in TERMINAL and not known.same_run:
            reason = f"{order.order_id} was placed before and is {known.state.status.value}"
            return Validated(verdict="duplicate", code="closed", reason=reason, resume=known.state)
        verdict = validate(order, skus, has_store=store is not None and store.pickup)
        return Validated(
            verdict=verdict.outcome,
            skus=skus,
            kits={line_id: made_of[sku] for line_id, sku in skus.items() if sku in made_of},
            holds=verdict.holds,
            code=verdict.code,
            reason=verdict.reason,
            resume=known.state if known.state.lines else None,
            base=known.last_change,
        )

    @activity.defn
    async def record(self, change: Change) -> None:
        async with transaction(self._engine) as conn:
            free: set[str] = set()
            if change.state.status in TERMINAL:
                free = await reservations.let_go(conn, change.state.order_id)
                free |= await backorders.leave(conn, change.state.order_id)
            await records.apply(conn, change)
            await inbox.wake_backordered(conn, free, change.key)
