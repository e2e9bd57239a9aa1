"""How the rest of the house talks with the orders' workflows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import ResetReapplyExcludeType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode

from domain.errors import Conflict, NotFound, Outage
from domain.fulfillments import NodeEvent
from domain.orders import DeliveryMethod, Order
from domain.records import OrderState
from domain.values import Value
from workflows.addressing import CHANNEL, ORDER_STATUS, ORDERS, PROMISE_BY, order_workflow_id
from workflows.codec import Keyring, data_converter
from workflows.messages import (
    Cancel,
    ExtendPickup,
    HandOver,
    NodeDown,
    Patience,
    PlaceHold,
    ReleaseHold,
    Resolve,
    SourceAgain,
    StartOrder,
    Submitted,
    Supply,
)
from workflows.order import OrderWorkflow
from workflows.ports import Reoptimise, Reoptimised
from workflows.upkeep import ReoptimiseWorkflow

_AWAY: Final = (
    RPCStatusCode.UNAVAILABLE,
    RPCStatusCode.DEADLINE_EXCEEDED,
    RPCStatusCode.CANCELLED,
    RPCStatusCode.RESOURCE_EXHAUSTED,
    RPCStatusCode.INTERNAL,
    RPCStatusCode.FAILED_PRECONDITION,  # its workflow task was lost, and is taken again
)
_STUCK: Final = (
    "WorkflowType = 'Order' AND ExecutionStatus = 'Running' AND TemporalReportedProblems = "
    "'cause=WorkflowTaskFailedCauseNonDeterministicError'"
)
_PLAIN: Final = GrpcCompression.NONE  # a local network is faster than gzip
_ANSWER: Final = timedelta(seconds=10)


class Pending(Outage):
    """The order may be durable already, but its answer did not come in time: look again later."""


async def connect(
    address: str, namespace: str, keyring: Keyring | None, *, lazy: bool = False
) -> Client:
    """
    A client whose payloads are sealed. Raises Outage where Temporal is not there (unless lazy).
    """
    converter = data_converter(keyring)
    try:
        return await Client.connect(
            address,
            namespace=namespace,
            data_converter=converter,
            lazy=lazy,
            grpc_compression=_PLAIN,
        )
    except RuntimeError as error:
        raise Outage("temporal", f"at {address} does not answer") from error


async def submit(
    client: Client,
    order: Order,
    patience: Patience,
    within: timedelta = timedelta(seconds=5),
    *,
    queue: str = ORDERS,
) -> Submitted:
    """
    Start the order's workflow, if there is none, and return its first answer.

    The same order again gets the same answer. Raises Conflict for another order under the same id,
    Pending where the answer did not come within `within`, Outage where Temporal is away.
    """
    start = WithStartWorkflowOperation(
        OrderWorkflow.run,
        StartOrder(order=order, patience=patience),
        id=order_workflow_id(order.order_id),
        task_queue=queue,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
        static_summary=_summary(order),
        search_attributes=_first_attributes(order),
    )
    try:
        answer: Submitted = await client.execute_update_with_start_workflow(
            "submit",
            order.digest,
            start_workflow_operation=start,
            id=f"submit-{order.digest}",
            result_type=Submitted,
            rpc_timeout=within,
        )
        return answer  # noqa: TRY300 - what the call gave
    except WorkflowAlreadyStartedError as error:
        raise Conflict(f"{order.order_id} was placed before and is closed") from error
    except WorkflowUpdateFailedError as error:
        raise Conflict(_words(error.cause)) from error
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise Pending("temporal", "has not answered yet") from error
    except RPCError as error:
        raise Outage("temporal", f"says {error.status.name.lower()}") from error
    except RuntimeError as error:  # a lazy client that has never reached it
        raise Outage("temporal", "cannot be reached", maybe_received=False) from error


async def restart_to_cancel(
    client: Client, order: Order, patience: Patience, why: str, *, queue: str = ORDERS
) -> None:
    """Run the order on from its record, in order to cancel it. Nothing if it is running."""
    try:
        await client.start_workflow(
            OrderWorkflow.run,
            StartOrder(order=order, patience=patience, cancel=why),
            id=order_workflow_id(order.order_id),
            task_queue=queue,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
            static_summary=f"{_summary(order)}, recovered",
            search_attributes=_first_attributes(order),
        )
    except WorkflowAlreadyStartedError:
        return


async def start_over_stuck(client: Client) -> tuple[str, ...]:
    """
    Begin anew, from its record, every order whose history this code cannot replay; their ids.

    The server notes such a workflow once its task has failed a few times. What was signalled is
    heard again, and absorbed; what was asked of it (updates) is not done twice.
    """
    found = []
    async for execution in client.list_workflows(_STUCK):
        await _start_over(client, execution.id, execution.run_id)
        found.append(execution.id.removeprefix(order_workflow_id("")))
    return tuple(found)


async def cancel(client: Client, order_id: str, message: Cancel) -> str:
    """The order's status after it: cancelled, cancel_pending, or what it has become."""
    return await _update(client, order_id, "cancel", message)


async def resolve(client: Client, order_id: str, message: Resolve) -> str:
    return await _update(client, order_id, "resolve", message)


async def place_hold(client: Client, order_id: str, message: PlaceHold) -> str:
    return await _update(client, order_id, "hold", message)


async def release_hold(client: Client, order_id: str, message: ReleaseHold) -> str:
    return await _update(client, order_id, "release_hold", message)


async def extend_pickup(client: Client, order_id: str, message: ExtendPickup) -> str:
    """The window's new end, ISO 8601."""
    return await _update(client, order_id, "extend_pickup", message)


async def hand_over(client: Client, order_id: str, message: HandOver) -> str:
    return await _update(client, order_id, "hand_over", message)


async def signal_node_event(client: Client, order_id: str, event: NodeEvent) -> None:
    """Raises NotFound where the order is closed or unknown."""
    async with _talking(client, order_id):
        await _handle(client, order_id).signal(OrderWorkflow.node_event, event)


async def signal_node_down(client: Client, order_id: str, message: NodeDown) -> None:
    async with _talking(client, order_id):
        await _handle(client, order_id).signal(OrderWorkflow.node_down, message)


async def signal_supply(client: Client, order_id: str, message: Supply) -> None:
    async with _talking(client, order_id):
        await _handle(client, order_id).signal(OrderWorkflow.supply, message)


async def signal_source_again(client: Client, order_id: str, message: SourceAgain) -> None:
    async with _talking(client, order_id):
        await _handle(client, order_id).signal(OrderWorkflow.source_again, message)


async def reoptimise(
    client: Client, within: timedelta = timedelta(seconds=60), *, dry_run: bool, queue: str = ORDERS
) -> Reoptimised:
    """
    A pass over allocated work that no node was asked for; who asks while one is made gets that one.

    Raises Pending where it takes longer than `within` (it goes on), Outage where Temporal is away.
    """
    try:
        async with asyncio.timeout(within.total_seconds()):
            return await client.execute_workflow(
                ReoptimiseWorkflow.run,
                Reoptimise(dry_run=dry_run),
                id="reoptimise-dry" if dry_run else "reoptimise-now",
                task_queue=queue,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            )
    except TimeoutError as error:
        raise Pending("temporal", "has not answered yet") from error
    except RPCError as error:
        raise Outage("temporal", f"says {error.status.name.lower()}") from error
    except RuntimeError as error:  # a lazy client that has never reached it
        raise Outage("temporal", "cannot be reached", maybe_received=False) from error


async def state(client: Client, order_id: str) -> OrderState:
    """The live truth of one order; needs a worker."""
    async with _talking(client, order_id):
        return await _handle(client, order_id).query(OrderWorkflow.state, rpc_timeout=_ANSWER)


def _handle(client: Client, order_id: str) -> WorkflowHandle[OrderWorkflow, OrderState]:
    return client.get_workflow_handle_for(OrderWorkflow.run, order_workflow_id(order_id))


async def _update(client: Client, order_id: str, update: str, message: Value) -> str:
    async with _talking(client, order_id):
        answer: str = await _handle(client, order_id).execute_update(
            update, message, result_type=str, rpc_timeout=_ANSWER
        )
        return answer


@asynccontextmanager
async def _talking(client: Client, order_id: str) -> AsyncIterator[None]:
    try:
        yield
    except WorkflowUpdateFailedError as error:
        code = error.cause.type if isinstance(error.cause, ApplicationError) else None
        raise Conflict(_words(error.cause), code=code) from error
    except WorkflowQueryFailedError as error:
        raise Outage("temporal", "cannot query the order") from error
    except WorkflowUpdateRPCTimeoutOrCancelledError as error:
        raise Pending("temporal", "has not answered yet") from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            if await _is_known(client, order_id):
                raise Conflict(f"{order_id} is closed", code="closed") from error
            raise NotFound(f"no order {order_id} is under way") from error
        if error.status in _AWAY:
            raise Outage("temporal", f"says {error.status.name.lower()}") from error
        raise
    except RuntimeError as error:  # a lazy client that has never reached it
        raise Outage("temporal", "cannot be reached", maybe_received=False) from error


async def _start_over(client: Client, workflow_id: str, run_id: str) -> None:
    handle = client.get_workflow_handle(workflow_id, run_id=run_id)
    async for event in handle.fetch_history_events(page_size=20):
        if event.HasField("workflow_task_completed_event_attributes"):
            first = event.event_id
            break
    else:
        return
    request = ResetWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
        reason="its history could not be replayed",
        workflow_task_finish_event_id=first,
        request_id=f"start-over-{run_id}",
        reset_reapply_exclude_types=[ResetReapplyExcludeType.RESET_REAPPLY_EXCLUDE_TYPE_UPDATE],
    )
    with suppress(RPCError):  # it ended meanwhile; or it is found again
        await client.workflow_service.reset_workflow_execution(request)


async def _is_known(client: Client, order_id: str) -> bool:
    """NOT_FOUND also says that the workflow has ended: there, Temporal still describes it."""
    try:
        await _handle(client, order_id).describe()
    except RPCError:
        return False
    return True


def _words(cause: BaseException) -> str:
    return cause.message if isinstance(cause, ApplicationError) else str(cause)


def _summary(order: Order) -> str:
    units = sum(line.quantity for line in order.lines)
    what = "1 unit" if units == 1 else f"{units} units"
    how = "for pickup" if order.method is DeliveryMethod.PICKUP else "to ship"
    return f"{order.channel} {order.channel_order_id}: {what} {how}"


def _first_attributes(order: Order) -> TypedSearchAttributes:
    pairs: list[SearchAttributePair[Any]] = [
        SearchAttributePair(ORDER_STATUS, "received"),
        SearchAttributePair(CHANNEL, order.channel),
    ]
    if order.deliver_by:
        pairs.append(SearchAttributePair(PROMISE_BY, order.deliver_by))
    return TypedSearchAttributes(pairs)
