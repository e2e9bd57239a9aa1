"""Shows that a worker is at work: while Temporal sees it poll, a file stays young."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Final

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.service import RPCError

_EVERY_SECONDS: Final = 5.0
_UNSEEN_SECONDS: Final = 0.2
_FRESH_SECONDS: Final = 30.0


async def beat(client: Client, queue: str | None, file: Path) -> None:
    """
    Touches the file for as long as Temporal sees this client's worker poll the queue.

    A worker that polls none says with it only that it lives.
    """
    while True:
        seen = queue is None
        with contextlib.suppress(RPCError):
            seen = seen or await _polls(client, str(queue))
        if seen:
            file.touch()  # noqa: ASYNC240  # takes microseconds
        await asyncio.sleep(_EVERY_SECONDS if seen else _UNSEEN_SECONDS)


def is_fresh(file: Path) -> bool:
    try:
        return time.time() - file.stat().st_mtime < _FRESH_SECONDS
    except FileNotFoundError:
        return False


async def _polls(client: Client, queue: str) -> bool:
    oldest = time.time() - 2 * _FRESH_SECONDS
    for kind in (
        TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY,
    ):
        request = DescribeTaskQueueRequest(
            namespace=client.namespace, task_queue=TaskQueue(name=queue), task_queue_type=kind
        )
        for poller in (await client.workflow_service.describe_task_queue(request)).pollers:
            if poller.identity == client.identity and poller.last_access_time.seconds > oldest:
                return True
    return False
