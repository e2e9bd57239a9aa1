"""What the demo ends with: figures, and whether they are as they should be."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from rich.table import Table

from cli.histories import EventCounts
from cli.printing import table
from domain.money import Money
from domain.orders import OrderStatus
from domain.values import Value
from storage.audit import Finding
from storage.reads import OrderProgress


class Spread(Value):
    p50: float = 0.0
    p99: float = 0.0


class Report(Value):
    ok: bool
    orders: int
    by_state: dict[str, int]
    packages_per_order: float
    cost_minor: int
    currency: str = "USD"
    on_time_share: float
    order_to_plan_ms: Spread
    order_to_shipped_ms: Spread
    events_per_order: EventCounts
    audit_findings: int
    problems: tuple[str, ...] = ()

    def table(self) -> Table:
        made = table("what", "figure", title=f"{self.orders} orders")
        for state, count in sorted(self.by_state.items(), key=lambda pair: -pair[1]):
            made.add_row(f"orders {state}", str(count))
        made.add_row("packages per order", f"{self.packages_per_order:.2f}")
        made.add_row("cost", str(Money(minor=self.cost_minor, currency=self.currency)))
        made.add_row("on time", f"{self.on_time_share:.1%}")
        made.add_row("order to plan", _spread(self.order_to_plan_ms))
        made.add_row("order to shipped", _spread(self.order_to_shipped_ms))
        events = self.events_per_order
        made.add_row(
            "history events, one shipment",
            f"p50 {events.one_shipment_p50:.0f}, max {events.one_shipment_max}",
        )
        made.add_row(
            "history events, each further shipment",
            f"p50 {events.further_shipment_p50:.1f}, max {events.further_shipment_max:.1f}",
        )
        clean = "[green]clean[/green]" if not self.audit_findings else "[red]findings[/red]"
        made.add_row("audit", f"{clean} ({self.audit_findings})")
        return made


def report(  # noqa: PLR0913, PLR0917 - the sources of the figures
    seen: Mapping[str, OrderProgress],
    expected: Mapping[str, OrderStatus],
    sent_at: Mapping[str, datetime],
    events: EventCounts,
    findings: Sequence[Finding],
    wanted: int,
) -> Report:
    """The figures, and in `problems` every order that is not where it should be."""
    wrong = [
        f"{order_id} is {seen[order_id].status if order_id in seen else 'missing'}, not {should}"
        for order_id, should in sorted(expected.items())
        if order_id not in seen or seen[order_id].status is not should
    ]
    if len(expected) < wanted:
        wrong.append(f"{wanted - len(expected)} orders were not sent")
    audited = [f"invariant {f.invariant}, {f.subject}: {f.message}" for f in findings]
    shipped = [o for o in seen.values() if o.shipped_at]
    late = [o for o in shipped if o.promise_by and o.updated_at > o.promise_by]
    return Report(
        ok=not wrong and not audited,
        orders=wanted,
        by_state=dict(Counter(o.status.value for o in seen.values())),
        packages_per_order=_mean([o.packages for o in shipped]),
        cost_minor=sum(o.cost_minor for o in seen.values()),
        on_time_share=1 - len(late) / len(shipped) if shipped else 0.0,
        order_to_plan_ms=_ms(
            (o.planned_at, sent_at[o.order_id]) for o in seen.values() if o.planned_at
        ),
        order_to_shipped_ms=_ms(
            (o.shipped_at, sent_at[o.order_id]) for o in seen.values() if o.shipped_at
        ),
        events_per_order=events,
        audit_findings=len(findings),
        problems=(*wrong, *audited),
    )


def _ms(pairs: Iterable[tuple[datetime, datetime]]) -> Spread:
    """The waits from the second instant of each pair to the first."""
    waits = sorted((end - start).total_seconds() * 1000 for end, start in pairs)
    if not waits:
        return Spread()
    p50, p99 = (waits[min(len(waits) - 1, int(share * len(waits)))] for share in (0.5, 0.99))
    return Spread(p50=round(p50, 1), p99=round(p99, 1))


def _mean(values: Sequence[int]) -> float:
    return round(statistics.fmean(values), 3) if values else 0.0


def _spread(spread: Spread) -> str:
    return f"p50 {spread.p50:,.0f} ms, p99 {spread.p99:,.0f} ms"
