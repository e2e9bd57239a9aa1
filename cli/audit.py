"""The auditor: our tables by themselves, against Temporal, and against the partners' own log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from cli import audit_partners
from domain.values import Value
from storage import audit as tables
from storage import standing
from storage.audit import Finding
from storage.database import transaction
from storage.repairs import Repair
from storage.standing import Standing
from workflows.addressing import order_workflow_id

GRACE: Final = timedelta(minutes=10)
SETTLE: Final = timedelta(seconds=3)
_ORDERS: Final = "WorkflowType = 'Order'"
_BROKEN: Final = frozenset({WorkflowExecutionStatus.FAILED, WorkflowExecutionStatus.TIMED_OUT})


class Checked(Value):
    """How much was looked at. `repeated_requests` reached a node more than once, as one."""

    orders: int = 0
    fulfillments: int = 0
    workflows: int = 0
    partner_requests: int = 0
    repeated_requests: int = 0
    shop_orders: int = 0


class AuditReport(Value):
    """Warnings are findings too, but may still mend themselves."""

    findings: tuple[Finding, ...]
    checked: Checked
    repairs: tuple[Repair, ...] = ()

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")


async def audit(
    engine: AsyncEngine,
    client: Client | None,
    sandbox_db: Path | None,
    *,
    grace: timedelta = GRACE,
    settle: timedelta = SETTLE,
) -> AuditReport:
    """
    Every breach of an invariant, with what was checked. Writes nothing.

    Tables, Temporal and partners cannot be read at one moment: what they disagree on counts only if
    they still do after `settle`. Without a client or a sandbox those comparisons are left out.
    """
    async with transaction(engine) as conn:
        own = await tables.audit(conn, grace=grace)
    found, checked = await _compare(engine, client, sandbox_db, grace)
    if found:
        await asyncio.sleep(settle.total_seconds())
        again, checked = await _compare(engine, client, sandbox_db, grace)
        before = {(finding.invariant, finding.subject) for finding in found}
        found = tuple(f for f in again if (f.invariant, f.subject) in before)
    return AuditReport(findings=(*own, *found), checked=checked)


async def _compare(
    engine: AsyncEngine, client: Client | None, sandbox_db: Path | None, grace: timedelta
) -> tuple[tuple[Finding, ...], Checked]:
    """What the three disagree on at this moment, or seem to while they move."""
    log = await asyncio.to_thread(audit_partners.read, sandbox_db) if sandbox_db else None
    async with transaction(engine) as conn:
        await standing.one_moment(conn)
        orders, shares = await standing.orders(conn), await standing.shares(conn)
        lost = [
            order
            for order in audit_partners.lost(log.shop_orders if log else (), orders)
            if not order.cancelled
            and datetime.now(UTC) - order.created_at > grace
            and not await standing.was_declined(conn, order.shop, order.number)
        ]
    checked = Checked(orders=len(orders), fulfillments=len(shares))
    findings = [
        Finding(
            invariant=4,
            subject=f"{order.shop} {order.number}",
            message="the shop took this order and we know nothing of it",
        )
        for order in lost
    ]
    if log is not None:
        findings += audit_partners.nodes(log.requests, orders, shares)
        findings += audit_partners.shops(log.shop_orders, orders)
        counts = {
            "partner_requests": len(log.requests),
            "repeated_requests": sum(request.times > 1 for request in log.requests),
            "shop_orders": len(log.shop_orders),
        }
        checked = checked.model_copy(update=counts)
    if client is not None:
        latest = await _certain(client, orders, await _workflows(client))
        findings += _against_temporal(orders, latest, datetime.now(UTC) - grace)
        checked = checked.model_copy(update={"workflows": len(latest)})
    return tuple(findings), checked


async def _workflows(client: Client) -> dict[str, WorkflowExecution]:
    """The newest run of each order's workflow that Temporal still knows."""
    latest: dict[str, WorkflowExecution] = {}
    async for run in client.list_workflows(_ORDERS, page_size=1000):
        known = latest.get(run.id)
        if known is None or known.start_time < run.start_time:
            latest[run.id] = run
    return latest


async def _certain(
    client: Client, orders: Sequence[Standing], listed: Mapping[str, WorkflowExecution]
) -> dict[str, WorkflowExecution]:
    """The list lags behind: what it says against an order is asked of the workflow itself."""
    latest = dict(listed)
    for workflow_id, order in ((order_workflow_id(order.order_id), order) for order in orders):
        run = latest.get(workflow_id)
        runs = run is not None and run.status is WorkflowExecutionStatus.RUNNING
        if runs is not order.terminal:
            continue
        try:
            latest[workflow_id] = await client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
    return latest


def _against_temporal(
    orders: Sequence[Standing], latest: Mapping[str, WorkflowExecution], since: datetime
) -> Iterator[Finding]:
    known = set()
    for order in orders:
        workflow_id = order_workflow_id(order.order_id)
        known.add(workflow_id)
        run = latest.get(workflow_id)
        status = run.status if run else None
        word = status.name.lower() if status else "unknown to Temporal"
        if not order.terminal and status is not WorkflowExecutionStatus.RUNNING:
            yield _found(4, order.order_id, f"{order.status}, but its workflow is {word}")
        elif order.terminal and status is WorkflowExecutionStatus.RUNNING:
            yield _found(5, order.order_id, f"{order.status}, but its workflow still runs")
        elif status in _BROKEN:
            yield _found(4, order.order_id, f"its workflow {word}")
    for workflow_id, run in latest.items():
        running = run.status is WorkflowExecutionStatus.RUNNING
        if running and workflow_id not in known and run.start_time < since:
            yield _found(4, workflow_id, "the workflow runs, but there is no such order")


def _found(invariant: int, subject: str, message: str) -> Finding:
    return Finding(invariant=invariant, subject=subject, message=message)
