"""What our tables say of every order, to be compared with what others wrote down of it."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.fulfillments import ENDED
from domain.orders import GONE, TERMINAL, DeliveryMethod
from domain.values import Value


class Share(Value):
    """A fulfillment: `shipped` counts the units by line that it recorded as gone."""

    fulfillment_id: str
    order_id: str
    node: str
    ended: bool
    shipped: dict[str, int]


class Standing(Value):
    """
    An order: units by line as ordered, and as gone to the customer; of a kit's line whole kits.
    `asked` are the units that nodes may have been asked for: by line, of a kit by its components'.

    `untold` says that its channel has not heard everything, or would not: a message is still to be
    sent, or was refused for good (which stands on the timeline).
    """

    order_id: str
    channel: str
    channel_ref: str
    method: DeliveryMethod
    status: str
    terminal: bool
    accepted_at: datetime
    ordered: dict[str, int]
    gone: dict[str, int]
    asked: dict[str, int] = {}
    untold: bool


_ORDERS = text("""
SELECT o.order_id, o.channel, o.body ->> 'channel_ref' AS channel_ref,
  o.body ->> 'method' AS method, o.status, o.accepted_at, o.status = ANY(:terminal) AS terminal,
  (SELECT coalesce(jsonb_object_agg(l ->> 'line_id', l -> 'quantity'), '{}')
     FROM jsonb_array_elements(o.body -> 'lines') AS l) AS ordered,
  (SELECT coalesce(jsonb_object_agg(line_id, units), '{}') FROM (
     SELECT coalesce(l -> 'kit' ->> 'line_id', l ->> 'line_id') AS line_id,
       min((SELECT coalesce(sum(value::int), 0) FROM jsonb_each_text(l -> 'buckets')
          WHERE key = ANY(:gone)) / coalesce((l -> 'kit' ->> 'per_kit')::int, 1)) AS units
     FROM jsonb_array_elements(o.state -> 'lines') AS l GROUP BY 1) AS sold) AS gone,
  (SELECT coalesce(jsonb_object_agg(l ->> 'line_id', l -> 'ordered'), '{}')
     FROM jsonb_array_elements(o.state -> 'lines') AS l) AS asked,
  EXISTS (SELECT FROM outbox AS m WHERE m.order_id = o.order_id AND m.kind LIKE 'channel.%'
     AND (m.done_at IS NULL OR m.note LIKE 'refused%')) AS untold
FROM orders AS o ORDER BY o.order_id
""")

_SHARES = text("""
SELECT fulfillment_id, order_id, node, status = ANY(:ended) AS ended,
  coalesce(body -> 'shipped', '{}') AS shipped
FROM fulfillments ORDER BY fulfillment_id
""")

_DECLINED = text("""
SELECT EXISTS (SELECT FROM inbox WHERE body ->> 'channel' = :channel AND note LIKE 'declined%'
  AND position(convert_to(:ref, 'UTF8') IN raw) > 0)
""")


async def one_moment(conn: AsyncConnection) -> None:
    """Have all that this transaction reads be of one moment. To be called first."""
    await conn.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))


async def orders(conn: AsyncConnection) -> tuple[Standing, ...]:
    words = {"terminal": sorted(TERMINAL), "gone": sorted(GONE)}
    rows = (await conn.execute(_ORDERS, words)).mappings()
    return tuple(Standing.model_validate(dict(row)) for row in rows)


async def shares(conn: AsyncConnection) -> tuple[Share, ...]:
    rows = (await conn.execute(_SHARES, {"ended": sorted(ENDED)})).mappings()
    return tuple(Share.model_validate(dict(row)) for row in rows)


async def was_declined(conn: AsyncConnection, channel: str, ref: str) -> bool:
    """Whether the channel told us of the order with this number, and we declined it."""
    query = await conn.execute(_DECLINED, {"channel": channel, "ref": ref})
    return bool(query.scalar_one())
