"""Delivers what partners told us: orders to their workflows, events to the orders they are of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from activities.house import House
from activities.pump import Box, Pump
from connectors.channels.base import ChannelAdapter, Connection, undecided
from domain.errors import Conflict, Invalid, NotFound, Outage, Refused
from domain.fulfillments import NodeEvent
from domain.orders import Declined, Order, order_id
from domain.records import OrderEvent
from storage import inbox, intake, promises, records
from storage.database import transaction
from storage.inbox import InboxItem
from workflows import client
from workflows.messages import Cancel, NodeDown, ReleaseHold, SourceAgain, Supply

_AT_ONCE: Final = 64
_ANSWER_WITHIN: Final = timedelta(seconds=25)
_ASK_A_CHANNEL: Final = 9  # times, over some eight minutes: nobody else can tell a pickup
CHANNEL_HOLD: Final = "channel_hold"
_LATE: Final = "late: the order is closed or unknown"


class Inbox(Box[InboxItem]):
    lease = 60.0

    def __init__(self, house: House) -> None:
        self._house = house

    async def claim(self, limit: int) -> Sequence[InboxItem]:
        async with transaction(self._house.engine) as conn:
            return await inbox.claim(conn, limit, self.lease)

    async def work(self, row: InboxItem) -> str:
        if row.kind in inbox.OF_ORDERS:
            return await _deliver(self._house, row)
        return await _document(self._house, row)

    async def done(self, rows: Collection[int], note: str) -> None:
        async with transaction(self._house.engine) as conn:
            await inbox.done(conn, rows, note)

    async def failed(self, row: int, error: str, retry_at: datetime | None, attempts: int) -> None:
        async with transaction(self._house.engine) as conn:
            await inbox.failed(conn, row, error, retry_at, attempts)

    async def released(self, rows: Collection[int]) -> None:
        async with transaction(self._house.engine) as conn:
            await inbox.released(conn, rows)


async def run(house: House) -> None:
    """Deliver for ever."""
    await Pump(Inbox(house), width=_AT_ONCE, idle=0.05).run()


async def _deliver(house: House, item: InboxItem) -> str:
    try:
        match item.kind:
            case "node_event":
                event = NodeEvent.model_validate(item.body)
                await client.signal_node_event(house.client, _order(item), event)
            case "node_down":
                message = NodeDown.model_validate(item.body)
                await client.signal_node_down(house.client, _order(item), message)
            case "supply":
                supply = Supply.model_validate(item.body)
                await client.signal_supply(house.client, _order(item), supply)
            case "source_again":
                again = SourceAgain.model_validate(item.body)
                await client.signal_source_again(house.client, _order(item), again)
    except (NotFound, Conflict):
        return _LATE
    return "delivered"


async def _document(house: House, item: InboxItem) -> str:
    """An order as its channel wrote it: submitted, cancelled, or declined with the reason."""
    code = item.body["channel"]
    async with transaction(house.engine) as conn:
        channel, connection = await house.connection(conn, code)
        adapter = house.channels[item.kind]  # the channel's own kind may have changed meanwhile
        try:
            read = adapter.translate(
                code, item.raw, channel.settings, channel.when_short, received_at=item.received_at
            )
        except Invalid as unclear:
            return f"invalid: {unclear}"
        known = order_id(read.channel, read.channel_order_id)
        ours = await records.state(conn, known) is not None
        before = None if ours else await intake.declined(conn, known, "cancelled")
    if isinstance(read, Declined):
        if read.code == "cancelled":
            return await _cancelled(house, item, read)
        return f"{'known' if ours else 'declined'}: {read.code}: {read.reason}"
    if before is not None:
        return f"declined: cancelled: {before.detail}"
    return await _submitted(house, await _complete(adapter, connection, read, item.attempts))


async def _submitted(house: House, order: Order) -> str:
    order, no = await _promised(house, order)
    try:
        answer = await client.submit(
            house.client, order, house.patience, _ANSWER_WITHIN, queue=house.queue
        )
    except Conflict as known:
        return await _known(house, order, known)
    if no is not None:
        async with transaction(house.engine) as conn:
            at, key = datetime.now(UTC), f"{order.order_id}:promise"
            await records.append_event(conn, order.order_id, key, at, no)
    return f"{answer.outcome}: {answer.reason}" if answer.reason else answer.outcome


async def _promised(house: House, order: Order) -> tuple[Order, OrderEvent | None]:
    """
    The order with what its token promises. One that does not fit is left out, and why is to be
    told: a shop's customer cannot mend it, and wants the goods all the same.
    """
    if not order.promise_token:
        return order, None
    try:
        async with transaction(house.engine) as conn:
            return await promises.dated(conn, order, datetime.now(UTC)), None
    except Invalid as no:
        told = OrderEvent(
            type="promise_ignored",
            summary=f"its promise is not kept: {no}",
            actor=f"channel:{order.channel}",
            cause=no.code,
            data={"token": order.promise_token},
        )
        return order.model_copy(update={"promise_token": ""}), told


async def _complete(
    adapter: ChannelAdapter, connection: Connection, order: Order, attempts: int
) -> Order:
    """What the document did not say. A channel that will not tell holds its order, no more."""
    try:
        return await adapter.complete(connection, order)
    except Refused:
        return undecided(order)
    except Outage:
        if attempts < _ASK_A_CHANNEL:
            raise
        return undecided(order)


async def _known(house: House, order: Order, known: Conflict) -> str:
    """The order came again, changed. A hold that its channel has lifted is lifted here too."""
    if CHANNEL_HOLD in order.holds:
        return f"known: {known}"
    message = ReleaseHold(handle=CHANNEL_HOLD, by=f"channel:{order.channel}")
    try:
        await client.release_hold(house.client, order.order_id, message)
    except (NotFound, Conflict):
        return f"known: {known}"
    return "known: the channel released its hold"


async def _cancelled(house: House, item: InboxItem, declined: Declined) -> str:
    """The channel cancelled an order: one that we have under way is called back."""
    message = Cancel(by=f"channel:{declined.channel}", note=declined.reason)
    known = order_id(declined.channel, declined.channel_order_id)
    try:
        return f"cancelled: {await client.cancel(house.client, known, message)}"
    except Conflict:
        return f"known: cancelled: {declined.reason}"
    except NotFound:
        # Noted at once: an older document of the order, that comes now, must find it.
        note = f"declined: cancelled: {declined.reason}"
        async with transaction(house.engine) as conn:
            await inbox.done(conn, [item.id], note)
        return note


def _order(item: InboxItem) -> str:
    if not item.order_id:
        raise NotFound(f"inbox item {item.id} names no order")
    return item.order_id
