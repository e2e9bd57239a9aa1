"""The invariants that our own tables can prove or refute, each as a query for what breaks it."""

from datetime import timedelta
from typing import Final, Literal, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.fulfillments import ENDED, RequestStatus
from domain.orders import GONE, Bucket
from domain.values import Value

Severity = Literal["error", "warning"]


class Finding(Value):
    """What breaks which invariant. A warning may still mend itself: a delivery is late."""

    invariant: int
    subject: str
    message: str
    severity: Severity = "error"


class _Check(NamedTuple):
    """`query` answers `subject` and `message` for each breach; `:before` is the end of the grace."""

    invariant: int
    query: str
    severity: Severity = "error"


async def audit(
    conn: AsyncConnection, *, grace: timedelta = timedelta(minutes=10)
) -> tuple[Finding, ...]:
    """
    Every breach of an invariant. Each check sees one moment, also while orders are under way.

    What has waited for less than `grace` is not late yet.
    """
    findings: list[Finding] = []
    for check in _CHECKS:
        rows = await conn.execute(text(check.query), {"grace": grace} if ":grace" in check.query else {})
        findings += [
            Finding(
                invariant=check.invariant,
                subject=row.subject,
                message=row.message,
                severity=check.severity,
            )
            for row in rows
        ]
    return tuple(findings)


def _words(values: object) -> str:
    return ", ".join(f"'{value}'" for value in sorted(values))  # type: ignore[call-overload]


_ENDED_STATUS: Final = _words(ENDED)
_GONE_BUCKETS: Final = _words(GONE)
_AT_NODE: Final = _words({Bucket.ALLOCATED, Bucket.RELEASED, Bucket.READY_FOR_PICKUP})
_OPEN_REQUESTS: Final = _words({
    RequestStatus.SUBMITTED,
    RequestStatus.ACCEPTED,
    RequestStatus.CANCELLATION_REQUESTED,
    RequestStatus.UNKNOWN,
})
