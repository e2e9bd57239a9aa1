"""Supply that is still to come: what its source states of it, and what has come of it."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy import select, text, tuple_
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Conflict, Invalid, NotFound
from domain.supply import Coming
from domain.values import Value
from storage import backorders, kits, ledger, matching
from storage.tables import supplies

SupplyKind = Literal["purchase_order", "transfer", "production"]


class Supply(Value):
    """
    What a source says it brings: `quantity` units of a SKU to a node. A `tentative` one is known,
    and not promised from.
    """

    source: str
    ref: str
    sequence: int
    kind: SupplyKind
    node: str
    sku: str
    quantity: int
    expected_at: datetime
    confidence: Literal["firm", "tentative"] = "firm"
    status: Literal["open", "cancelled"] = "open"


class Standing(Supply):
    """How a supply stands: `received` of it so far, `claimed` what orders wait for by its name."""

    received: int
    claimed: int


async def put(conn: AsyncConnection, supply: Supply, actor: str) -> bool:
    """
    Take a statement; False where a later one, or this, was taken before.

    Claims follow in the same transaction. Raises NotFound(node), Conflict(other_sku),
    Invalid(is_kit).
    """
    await ledger.lock_nodes(conn, [supply.node])
    await ledger.open_pool(conn, [supply.sku])
    if await kits.recipes(conn, [supply.sku]):
        raise Invalid(f"sku: {kits.is_kit(supply.sku)}", code="is_kit")
    values = {**dict(supply), "actor": actor}
    statement = upsert(supplies).values(values)
    changed = {k: v for k, v in values.items() if k not in {"source", "ref", "sku"}}
    taken = await conn.execute(
        statement.on_conflict_do_update(
            index_elements=["source", "ref"],
            set_={**changed, "updated_at": text("now()")},
            where=(supplies.c.sequence < supply.sequence) & (supplies.c.sku == supply.sku),
        ).returning(supplies.c.ref)
    )
    name = f"{supply.source}/{supply.ref}"
    if not taken.first():
        query = select(supplies.c.sku).where(
            supplies.c.source == supply.source, supplies.c.ref == supply.ref
        )
        known = (await conn.execute(query)).scalar_one()
        if known != supply.sku:
            message = f"sku: {name} is of {known}; cancel it and state another ref"
            raise Conflict(message, code="other_sku")
        return False
    what = (
        f"{name} is cancelled"
        if supply.status == "cancelled"
        else f"{name} brings {supply.quantity} on {supply.expected_at:%Y-%m-%d}"
    )
    await matching.rematch(conn, [supply.sku], what)
    await backorders.wake_undated(conn, supply.sku, f"{name}:{supply.sequence}")
    return True


async def nodes_of(conn: AsyncConnection, source: str, ref: str) -> list[str]:
    """Where the supply is to come, as was stated before; empty where it was not."""
    query = select(supplies.c.node).where(supplies.c.source == source, supplies.c.ref == ref)
    return list((await conn.execute(query)).scalars())


async def check(
    conn: AsyncConnection, source: str, ref: str, node: str, lines: Sequence[tuple[str, int]]
) -> None:
    """Whether these lines can be a receipt of the supply. Raises NotFound, Invalid."""
    query = select(supplies.c.node, supplies.c.sku)
    query = query.where(supplies.c.source == source, supplies.c.ref == ref)
    found = (await conn.execute(query)).first()
    if found is None:
        raise NotFound(f"supply: there is no {source}/{ref}; state it first, or leave it out")
    if found.node != node:
        message = f"supply: {source}/{ref} is for {found.node}; state it anew for {node} first"
        raise Invalid(message)
    if other := [sku for sku, _ in lines if sku != found.sku]:
        message = f"lines: {source}/{ref} is of {found.sku}; send {other[0]} as another receipt"
        raise Invalid(message)


async def came(
    conn: AsyncConnection, source: str, ref: str, node: str, lines: Sequence[tuple[str, int]]
) -> None:
    """
    Count what came of a supply, and hand it to those who claim it, before anyone else sees it.

    The units are on hand, their pool and shelves locked. More than was stated is counted too.
    """
    units = sum(quantity for _, quantity in lines)
    sku = lines[0][0]
    await backorders.came(conn, source, ref, sku, node, units)
    await conn.execute(
        text(
            "UPDATE supplies SET received = received + :units, updated_at = now()"
            " WHERE source = :source AND ref = :ref"
        ),
        {"units": units, "source": source, "ref": ref},
    )
    await matching.rematch(conn, [sku], f"{units} of {source}/{ref} came")


async def find(
    conn: AsyncConnection,
    skus: Collection[str] | None,
    nodes: Collection[str] | None,
    *,
    after: tuple[str, str] | None = None,
    limit: int = 100,
) -> tuple[Standing, ...]:
    """Supplies by source and ref; None is all SKUs, all nodes."""
    claimed = text(
        "(SELECT coalesce(sum(units), 0) FROM supply_claims AS c"
        " WHERE c.source = supplies.source AND c.ref = supplies.ref) AS claimed"
    )
    query = select(supplies, claimed)
    if skus is not None:
        query = query.where(supplies.c.sku.in_(skus))
    if nodes is not None:
        query = query.where(supplies.c.node.in_(nodes))
    if after is not None:
        query = query.where(tuple_(supplies.c.source, supplies.c.ref) > tuple_(*after))
    rows = await conn.execute(query.order_by(supplies.c.source, supplies.c.ref).limit(limit))
    return tuple(Standing.model_validate(dict(row)) for row in rows.mappings())


async def unclaimed(
    conn: AsyncConnection, skus: Collection[str], *, tentative: bool = False
) -> dict[str, tuple[Coming, ...]]:
    """What is still to come of each SKU and nobody waits for; only what is firm, if not said."""
    rows = await conn.execute(
        text(
            "SELECT s.sku, s.source, s.ref, s.node, s.expected_at, s.quantity - s.received"
            " - coalesce((SELECT sum(units) FROM supply_claims AS c"
            " WHERE c.source = s.source AND c.ref = s.ref), 0)::integer AS units"
            " FROM supplies AS s WHERE sku = ANY(:skus) AND status = 'open'"
            " AND quantity > received AND (confidence = 'firm' OR :tentative)"
        ),
        {"skus": list(skus), "tentative": tentative},
    )
    found: dict[str, tuple[Coming, ...]] = dict.fromkeys(skus, ())
    for sku, *coming in rows:
        found[sku] = (*found[sku], Coming(*coming))
    return found
