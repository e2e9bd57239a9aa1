"""The invariants that our own tables can prove or refute, each as a query for what breaks it."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.values import Value
from storage.audit import orders, supply, units
from storage.audit.check import WORDS, Severity
from storage.audit.sources import SOURCES
from storage.audit.wrong import Scope

STOCK: Final = frozenset({1, 2, 5})
_TOLD_BY: Final = {"node_capacity": 2, "node_signals": 7, "stock_rules": 7, "stock_rule_log": 7}


class RowName(Value):
    """A row, by its table and key."""

    table: str
    key: dict[str, Any]


class Finding(Value):
    """
    What breaks which invariant, and the rows that are wrong or disagree. A warning may still mend
    itself: a delivery is late.
    """

    invariant: int
    subject: str
    message: str
    severity: Severity = "error"
    rows: tuple[RowName, ...] = ()


async def audit(
    conn: AsyncConnection,
    *,
    grace: timedelta = timedelta(minutes=10),
    invariants: Collection[int] = range(1, 8),
    skus: Collection[str] | None = None,
) -> tuple[Finding, ...]:
    """
    Every breach of these invariants. Each check sees one moment, also while orders are under way.

    What has waited for less than `grace` is not late yet. With `skus` only the checks that go by
    SKU are made, of these; their cost grows with the movements of these alone.
    """
    await patiently(conn)
    scope = Scope(skus)
    findings: list[Finding] = []
    for check in (*units.CHECKS, *supply.CHECKS, *orders.CHECKS):
        if check.invariant not in invariants or (skus is not None and not check.by_sku):
            continue
        rows = await conn.execute(text(check.query), {**WORDS, "grace": grace, **scope.asked})
        findings += [
            Finding(
                invariant=check.invariant,
                subject=row.subject,
                message=row.message,
                severity=check.severity,
                rows=_named(getattr(row, "relation", check.relation), getattr(row, "key", None)),
            )
            for row in rows
        ]
    for source in SOURCES:
        if source.invariant is None:
            continue
        for wrong in await source.find(conn, scope):
            invariant = _TOLD_BY.get(wrong.relation, source.invariant)
            if invariant in invariants:
                key = ", ".join(str(said) for said in wrong.key.values())
                findings.append(
                    Finding(
                        invariant=invariant,
                        subject=f"{wrong.relation} {key}",
                        message=wrong.finding,
                        rows=_named(wrong.relation, wrong.key),
                    )
                )
    return tuple(findings)


async def patiently(conn: AsyncConnection) -> None:
    """Have this transaction take its time, and plan each statement for what it is asked."""
    await conn.execute(text("SET LOCAL statement_timeout = '10min'"))
    await conn.execute(text("SET LOCAL plan_cache_mode = 'force_custom_plan'"))


def _named(relation: str, key: Any) -> tuple[RowName, ...]:
    return (RowName(table=relation, key=dict(key)),) if relation and key else ()
