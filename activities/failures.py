"""How an error leaves an activity: a refusal is final, an outage is retried, a bug is loud."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from domain.errors import Outage, Refused


class Failures(Interceptor):
    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Inbound(next)


class _Inbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        try:
            return await super().execute_activity(input)
        except Refused as no:
            raise ApplicationError(
                str(no),
                type=no.code,
                non_retryable=True,
                category=ApplicationErrorCategory.BENIGN,
            ) from no
        except Outage as outage:
            wait = timedelta(seconds=outage.retry_after) if outage.retry_after else None
            raise ApplicationError(
                str(outage),
                type="outage",
                next_retry_delay=wait,
                category=ApplicationErrorCategory.BENIGN,
            ) from outage
