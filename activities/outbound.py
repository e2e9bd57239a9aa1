"""Sends what must leave the house: write-back to channels, and late recalls to nodes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Final

from activities.house import House
from activities.nodes import Nodes
from activities.pump import Box, Pump
from connectors.channels.base import NO_CREDENTIAL, Shipment
from domain.errors import NotFound, Outage, Refused
from domain.fulfillments import LineQuantity, Package
from domain.kits import sold_of
from domain.records import OrderEvent
from storage import network, outbox, records
from storage.database import transaction
from storage.outbox import OutboxItem
from workflows.ports import Recall

_AT_ONCE: Final = 16
_NOT_LET_IN: Final = frozenset({"partner_unauthorized", NO_CREDENTIAL})


class Outbox(Box[OutboxItem]):
    lease = 60.0

    def __init__(self, house: House) -> None:
        self._house = house

    async def claim(self, limit: int) -> Sequence[OutboxItem]:
        async with transaction(self._house.engine) as conn:
            return await outbox.claim(conn, limit, self.lease)

    async def work(self, row: OutboxItem) -> str:
        """A partner that does not let us in is asked again: credentials expire and are renewed."""
        try:
            return await _send(self._house, row)
        except Refused as no:
            if no.code not in _NOT_LET_IN:
                raise
            raise Outage(f"the receiver of {row.kind}", f"does not let us in: {no}") from no

    async def done(self, rows: Collection[int], note: str) -> None:
        """What a partner refused for good stands on the order's timeline."""
        async with transaction(self._house.engine) as conn:
            for row in rows:
                item = await outbox.done(conn, row, note)
                if item is not None and note.startswith("refused"):
                    told = OrderEvent(type="write_back_refused", summary=note, cause=item.kind)
                    now = datetime.now(UTC)
                    await records.append_event(conn, item.order_id, f"outbox:{row}", now, told)

    async def failed(self, row: int, error: str, retry_at: datetime | None, attempts: int) -> None:
        async with transaction(self._house.engine) as conn:
            await outbox.failed(conn, row, error, retry_at, attempts)

    async def released(self, rows: Collection[int]) -> None:
        async with transaction(self._house.engine) as conn:
            await outbox.released(conn, rows)


async def run(house: House) -> None:
    """Send for ever."""
    await Pump(Outbox(house), width=_AT_ONCE, idle=0.2).run()


async def _send(house: House, item: OutboxItem) -> str:
    if item.kind == "node.recall":
        nodes = Nodes(house.engine, house.nodes, house.keyring)
        recall = Recall(fulfillment_id=item.body["fulfillment_id"], reason=item.body["reason"])
        return (await nodes.recall(recall)).answer
    return await _tell_channel(house, item)


async def _tell_channel(house: House, item: OutboxItem) -> str:
    async with transaction(house.engine) as conn:
        order = await records.order(conn, item.order_id)
        if order is None:
            raise NotFound(f"no order {item.order_id}")
        if await network.channel(conn, order.channel) is None:
            return f"{order.channel} is a direct client: it reads our API itself"
        channel, connection = await house.connection(conn, order.channel)
        fulfillment = await records.fulfillment(conn, item.body.get("fulfillment_id", ""))
        state = await records.state(conn, item.order_id)
        told = await outbox.told_before(conn, item)
    adapter = house.channels.get(channel.kind)
    if adapter is None:
        return f"channel {channel.code} reads our API itself"
    if item.kind == "channel.cancelled":
        await adapter.cancelled(connection, order, item.body["reason"])
        return "told"
    if fulfillment is None:
        raise NotFound(f"no fulfillment {item.body.get('fulfillment_id')}")
    shipment = Shipment(
        order=order,
        fulfillment=fulfillment,
        lines=_lines(item),
        packages=_packages(item),
        key=item.key,
        before=tuple(line for other in told if _share(other, item) for line in _lines(other)),
    )
    if item.kind == "channel.ready_for_pickup":
        lines = sold_of(state.lines if state else (), fulfillment.remaining())
        waiting = shipment.model_copy(update={"lines": lines})
        await adapter.ready_for_pickup(connection, waiting)
    else:
        await adapter.shipped(connection, shipment)
    return "told"


def _lines(item: OutboxItem) -> tuple[LineQuantity, ...]:
    return tuple(LineQuantity.model_validate(line) for line in item.body.get("lines", ()))


def _packages(item: OutboxItem) -> tuple[Package, ...]:
    return tuple(Package.model_validate(package) for package in item.body.get("packages", ()))


def _share(one: OutboxItem, other: OutboxItem) -> bool:
    """Whether the two tell of a parcel that they share."""
    numbers = [{p.tracking_number for p in _packages(x)} - {""} for x in (one, other)]
    return bool(numbers[0] & numbers[1])
