"""How many history events an undisturbed order costs, over the closed orders of an installation."""

from __future__ import annotations

from typing import Final

from cli.bench import Metric, at_least, at_most
from cli.histories import EventCounts, count_events
from cli.target import installation, run
from cli.wiring import engine, temporal
from storage.database import transaction

SUMMARY: Final = "history events per undisturbed order, of the orders that are there"


def measure(seed: int) -> dict[str, Metric]:  # noqa: ARG001  # it counts what already happened
    counts = run(_counts())
    return {
        "orders": at_least(counts.orders, 1, "orders"),
        "one_shipment_p50": at_most(counts.one_shipment_p50, 40, "events"),
        "one_shipment_max": at_most(counts.one_shipment_max, 48, "events"),
        "further_shipment_p50": at_most(counts.further_shipment_p50, 20, "events"),
        "further_shipment_max": Metric(value=counts.further_shipment_max, unit="events"),
    }


async def _counts() -> EventCounts:
    async with (
        installation(start=("postgres", "temporal")) as settings,
        engine(settings, read_only=True) as opened,
        transaction(opened) as conn,
    ):
        return await count_events(conn, await temporal(settings))
