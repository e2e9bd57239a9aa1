"""Work that runs on a schedule: polling channels, and finding orders whose workflow is gone."""

from __future__ import annotations

from temporalio import workflow

from workflows.policies import patient
from workflows.ports import Upkeep


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
