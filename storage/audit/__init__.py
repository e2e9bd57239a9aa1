"""The invariants that our own tables can prove or refute, each as a query for what breaks it."""

from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.values import Value
from storage.audit import orders, supply, units
from storage.audit.check import WORDS, Severity


class Finding(Value):
    """What breaks which invariant. A warning may still mend itself: a delivery is late."""

    invariant: int
    subject: str
    message: str
    severity: Severity = "error"


async def audit(
    conn: AsyncConnection, *, grace: timedelta = timedelta(minutes=10)
) -> tuple[Finding, ...]:
    """
    Every breach of an invariant. Each check sees one moment, also while orders are under way.

    What has waited for less than `grace` is not late yet.
    """
    findings: list[Finding] = []
    for check in (*units.CHECKS, *supply.CHECKS, *orders.CHECKS):
        rows = await conn.execute(text(check.query), {**WORDS, "grace": grace})
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
