"""The network as it is set up: nodes, products and their aliases, rates, channels, credentials."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, Literal

from pydantic import Field
from sqlalchemy import (
    BindParameter,
    Row,
    Text,
    any_,
    delete,
    func,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Conflict, NotFound
from domain.network import Node, Product, RateCard
from domain.values import Value
from storage import kits, signals, stock_rules, tables
from storage.tables import product_aliases

_NODES: Final = select(tables.nodes, signals.LEAD_HOURS.label("lead_hours"))


class Channel(Value):
    """Where orders come from. `settings` are what its adapter understands."""

    code: str
    kind: Literal["shopify", "magento", "api"]
    url: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    when_short: Literal["backorder", "refuse"] = "backorder"


async def put_node(conn: AsyncConnection, node: Node) -> None:
    """
    Describe a node, new or known. A known node keeps the status that it has.

    Only `stock.set_node_status` takes a node up or down, because what may be sold changes with it.
    """
    row = {
        "code": node.code,
        "timezone": node.calendar.timezone,
        "capacity_per_day": node.capacity_per_day,
        "units_per_day": node.units_per_day,
        "body": node,
    }
    statement = upsert(tables.nodes).values(**row, status=node.status)
    await conn.execute(
        statement.on_conflict_do_update(
            index_elements=["code"], set_={**row, "updated_at": func.now()}
        )
    )


async def node(conn: AsyncConnection, code: str) -> Node | None:
    row = (await conn.execute(_NODES.where(tables.nodes.c.code == code))).first()
    return _as_node(row) if row else None


async def nodes(conn: AsyncConnection) -> tuple[Node, ...]:
    rows = await conn.execute(_NODES.order_by(tables.nodes.c.code))
    return tuple(_as_node(row) for row in rows)


def _as_node(row: Row[Any]) -> Node:
    """As it was described, and as it is now."""
    now = {"status": row.status, "lead_hours": row.lead_hours or 0}
    return Node.model_validate({**row.body, **now})


async def put_products(conn: AsyncConnection, products: Sequence[Product]) -> None:
    """
    Describe products, new or known. Raises Conflict(alias_taken): an alias names one product; and
    what `kits.judge` raises of kits.
    """
    described = {product.sku: product for product in products}
    if not described:
        return
    await kits.judge(conn, described)
    await stock_rules.note_products(conn, [described[sku] for sku in sorted(described)])
    statement = upsert(tables.products)
    await conn.execute(
        statement.on_conflict_do_update(
            index_elements=["sku"],
            set_={"body": statement.excluded.body, "updated_at": func.now()},
        ),
        [{"sku": sku, "body": described[sku]} for sku in sorted(described)],
    )
    await conn.execute(
        delete(product_aliases).where(product_aliases.c.sku == any_(literal(list(described))))
    )
    aliases = {(alias, product.sku) for product in described.values() for alias in product.aliases}
    if not aliases:
        return
    # Two arrays: a parameter for each value would be more than a statement takes.
    names, skus = map(list, zip(*sorted(aliases), strict=True))
    rows = func.unnest(_texts(names), _texts(skus)).table_valued("alias", "sku").render_derived()
    added = await conn.execute(
        upsert(product_aliases)
        .from_select(["alias", "sku"], select(rows.c.alias, rows.c.sku))
        .on_conflict_do_nothing()
        .returning(product_aliases.c.alias, product_aliases.c.sku)
    )
    if taken := sorted(aliases - {(row.alias, row.sku) for row in added}):
        raise Conflict(f"alias {taken[0][0]} names another product already", code="alias_taken")


def _texts(values: Sequence[str]) -> BindParameter[Sequence[str]]:
    return literal(values, ARRAY(Text))


async def product(conn: AsyncConnection, sku: str) -> Product | None:
    query = select(tables.products.c.body).where(tables.products.c.sku == sku)
    body = (await conn.execute(query)).scalar()
    return Product.model_validate(body) if body else None


async def resolve_skus(conn: AsyncConnection, names: Sequence[Sequence[str]]) -> list[str | None]:
    """For each list of names the SKU that the first known of them means; one query for all."""
    asked = sorted({name for several in names for name in several if name})
    wanted = any_(literal(asked))
    known = tables.products.c.sku
    rows = await conn.execute(
        select(known.label("name"), known.label("sku"), literal(1).label("rank"))
        .where(known == wanted)
        .union_all(
            select(product_aliases.c.alias, product_aliases.c.sku, literal(0)).where(
                product_aliases.c.alias == wanted
            )
        )
        .order_by("rank")
    )
    meant = {row.name: row.sku for row in rows}
    return [next((meant[name] for name in several if name in meant), None) for several in names]


async def put_rate_cards(conn: AsyncConnection, cards: Iterable[RateCard]) -> None:
    for card in cards:
        statement = upsert(tables.rate_cards).values(service=card.service, body=card)
        await conn.execute(
            statement.on_conflict_do_update(index_elements=["service"], set_={"body": card})
        )


async def set_rate_cards(conn: AsyncConnection, cards: Collection[RateCard]) -> None:
    """These cards and no others. Two callers at once: the one after the other."""
    await conn.execute(text("LOCK TABLE rate_cards IN SHARE ROW EXCLUSIVE MODE"))
    services = [card.service for card in cards]
    await conn.execute(
        delete(tables.rate_cards).where(tables.rate_cards.c.service.not_in(services))
    )
    await put_rate_cards(conn, cards)


async def rate_cards(conn: AsyncConnection) -> tuple[RateCard, ...]:
    rows = await conn.execute(
        select(tables.rate_cards.c.body).order_by(tables.rate_cards.c.service)
    )
    return tuple(RateCard.model_validate(body) for body in rows.scalars())


async def put_channel(conn: AsyncConnection, channel: Channel) -> None:
    """
    Describe a channel, new or known; its cursor stays.

    Raises Conflict(ambiguous_code) where an id `{channel}-{number}` could be of another channel
    too: `web` with `shop-1`, and `web-shop` with `1`.
    """
    c = tables.channels.c.code
    near = or_(
        c.startswith(f"{channel.code}-", autoescape=True), literal(channel.code).startswith(c + "-")
    )
    if other := (await conn.execute(select(c).where(near).limit(1))).scalar():
        message = f"orders of {channel.code} and of {other} could have the same id"
        raise Conflict(message, code="ambiguous_code")
    row = channel.model_dump()
    statement = upsert(tables.channels).values(**row)
    await conn.execute(statement.on_conflict_do_update(index_elements=["code"], set_=row))


async def channel(conn: AsyncConnection, code: str) -> Channel | None:
    query = select(tables.channels).where(tables.channels.c.code == code)
    row = (await conn.execute(query)).mappings().first()
    return Channel.model_validate(dict(row)) if row else None


async def channels(conn: AsyncConnection) -> tuple[Channel, ...]:
    rows = await conn.execute(select(tables.channels).order_by(tables.channels.c.code))
    return tuple(Channel.model_validate(dict(row)) for row in rows.mappings())


async def cursor(conn: AsyncConnection, code: str) -> str | None:
    """How far a polled channel was read."""
    query = select(tables.channels.c.cursor).where(tables.channels.c.code == code)
    return (await conn.execute(query)).scalar()


async def set_cursor(conn: AsyncConnection, code: str, cursor: str) -> None:
    changed = await conn.execute(
        update(tables.channels).where(tables.channels.c.code == code).values(cursor=cursor)
    )
    if changed.rowcount == 0:
        raise NotFound(f"no channel {code}")


async def put_credential(conn: AsyncConnection, owner: str, name: str, sealed: str) -> None:
    """Keep a sealed secret of `node:{code}` or `channel:{code}`."""
    statement = upsert(tables.credentials).values(owner=owner, name=name, sealed=sealed)
    await conn.execute(
        statement.on_conflict_do_update(
            index_elements=["owner", "name"], set_={"sealed": sealed, "updated_at": func.now()}
        )
    )


async def credential(conn: AsyncConnection, owner: str, name: str) -> str | None:
    """The secret as it was sealed."""
    return (await credentials(conn, owner)).get(name)


async def credentials(conn: AsyncConnection, owner: str) -> dict[str, str]:
    """The owner's secrets by name, as they were sealed."""
    c = tables.credentials.c
    rows = await conn.execute(select(c.name, c.sealed).where(c.owner == owner))
    return {row.name: row.sealed for row in rows}
