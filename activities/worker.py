"""The worker process: every workflow, every activity, pumps, sweep and watches, wired once."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Collection, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from activities import auditing, batches, expiry, inbound, outbound, pricing, scheduling, watch
from activities.failures import Failures
from activities.house import House
from activities.nodes import Nodes
from activities.orders import Orders
from activities.sourcing import Sourcing
from activities.stock import Stock
from activities.upkeep import Upkeep
from domain.geography import locate
from workflows.addressing import Role, partners_queue, sourcing_queue
from workflows.order import OrderWorkflow
from workflows.upkeep import PollChannelWorkflow, ReconcileWorkflow, ReoptimiseWorkflow

# Not reloaded for every run, so not watched by the sandbox either: ruff watches these.
PURE: Final = (
    "domain",
    "workflows.addressing",
    "workflows.book",
    "workflows.clock",
    "workflows.conversation",
    "workflows.details",
    "workflows.fulfilling",
    "workflows.leftover",
    "workflows.messages",
    "workflows.placing",
    "workflows.policies",
    "workflows.ports",
    "workflows.steps",
    "workflows.taking",
)
SANDBOX: Final = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules(
        *PURE
    ).with_import_notification_policy(
        workflow.SandboxImportNotificationPolicy.RAISE_ON_UNINTENTIONAL_PASSTHROUGH
        | workflow.SandboxImportNotificationPolicy.WARN_ON_DYNAMIC_IMPORT
    )
)
WORKFLOWS: Final = [OrderWorkflow, PollChannelWorkflow, ReconcileWorkflow, ReoptimiseWorkflow]
_PARTNER_CALLS: Final = frozenset({"dispatch", "recall"})
_HEAVY: Final = frozenset({"optimize_source", "reoptimise"})


def adapters(house: House) -> tuple[object, ...]:
    """The answer to every port."""
    return (
        Orders(house.engine),
        Stock(house.engine),
        Sourcing(house.engine, house.certified),
        Nodes(house.engine, house.nodes, house.keyring),
        Upkeep(house),
    )


def activities_of(answers: Sequence[object]) -> list[Callable[..., object]]:
    """Every method that an adapter marks as an activity."""
    return [
        method
        for adapter in answers
        for _, method in inspect.getmembers(adapter, inspect.ismethod)
        if hasattr(method, "__temporal_activity_definition")
    ]


def workers(
    client: Client, answers: Sequence[object], queue: str, roles: Collection[Role]
) -> list[Worker]:
    """The workers on the queues of these roles."""
    activities = activities_of(answers)
    of_partners = [a for a in activities if a.__name__ in _PARTNER_CALLS]
    of_house = [a for a in activities if a.__name__ not in _PARTNER_CALLS]
    interceptors = [Failures()]
    grace = timedelta(seconds=5)
    made: list[Worker] = []
    if "workflows" in roles:
        made.append(
            Worker(
                client,
                task_queue=queue,
                workflows=WORKFLOWS,
                activities=of_house,
                interceptors=interceptors,
                workflow_runner=SANDBOX,
                max_cached_workflows=1000,
                graceful_shutdown_timeout=grace,
            )
        )
    if "partners" in roles:
        made.append(
            Worker(
                client,
                task_queue=partners_queue(queue),
                activities=of_partners,
                interceptors=interceptors,
                max_concurrent_activities=200,
                graceful_shutdown_timeout=grace,
            )
        )
    if "sourcing" in roles:
        made.append(
            Worker(
                client,
                task_queue=sourcing_queue(queue),
                activities=[a for a in of_house if a.__name__ in _HEAVY],
                interceptors=interceptors,
                max_concurrent_activities=2,
                graceful_shutdown_timeout=grace,
            )
        )
    return made


async def run(house: House, roles: Collection[Role], stop: asyncio.Event) -> None:
    """Work until `stop` is set, then finish what is under way within the grace."""
    side = (inbound.run, outbound.run, scheduling.run, watch.run, expiry.run, auditing.run)
    pumps = [
        *(side if "pumps" in roles else ()),
        *((batches.run, pricing.run) if "sourcing" in roles else ()),
    ]
    await asyncio.to_thread(locate, "10001")  # reads the table of postal codes, once
    async with AsyncExitStack() as stack:
        for worker in workers(house.client, adapters(house), house.queue, roles):
            await stack.enter_async_context(worker)
        pumping = [asyncio.create_task(run_pump(house)) for run_pump in pumps]
        stopping = asyncio.create_task(stop.wait())
        finished, rest = await asyncio.wait(
            [stopping, *pumping], return_when=asyncio.FIRST_COMPLETED
        )
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        for task in finished:
            task.result()
