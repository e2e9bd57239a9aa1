"""
Work that runs on a schedule: polling channels, finding orders whose workflow is gone, and sourcing
anew what is allocated and could be sourced better.
"""

from __future__ import annotations

from temporalio import workflow

from workflows.addressing import sourcing_queue
from workflows.policies import lengthy, patient
from workflows.ports import Reoptimise, Reoptimised, Upkeep


@workflow.defn(name="PollChannel")
class PollChannelWorkflow:
    """Fetches what changed at one channel. Scheduled with overlap skipped."""

    @workflow.run
    async def run(self, channel: str) -> int:
        return await workflow.execute_activity_method(
            Upkeep.poll_channel, channel, **patient(f"poll {channel}")
        )


@workflow.defn(name="Reconcile")
class ReconcileWorkflow:
    """Takes up open orders whose workflow was terminated, or cannot go on."""

    @workflow.run
    async def run(self) -> int:
        found = await workflow.execute_activity_method(
            Upkeep.recover_abandoned, **patient("look for abandoned orders")
        )
        return len(found)


@workflow.defn(name="Reoptimise")
class ReoptimiseWorkflow:
    """Has allocated work that no node was asked for sourced better."""

    @workflow.run
    async def run(self, request: Reoptimise) -> Reoptimised:
        queue = sourcing_queue(workflow.info().task_queue)
        summary = (
            "tell what could be sourced better" if request.dry_run else "source what waits anew"
        )
        return await workflow.execute_activity_method(
            Upkeep.reoptimise, request, **lengthy(summary, queue)
        )
