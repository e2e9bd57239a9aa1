"""Kits in the catalogue: what they are made of, what may be one, and that none is ever stocked."""

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Conflict, Invalid
from domain.network import Kit, Product
from storage import ledger

_LOCK: Final = 7_217_004  # what is a kit is decided one batch after the other

# The index `ix_products_kits` has the kits alone: `IS_KIT` is its predicate.
IS_KIT: Final = "body -> 'components' <> '[]'"
_RECIPES: Final = text(f"""
SELECT sku, body -> 'components' AS components,
  coalesce((body ->> 'ships_together')::boolean, true) AS together
FROM products WHERE sku = ANY(:skus) AND {IS_KIT}
""")  # noqa: S608 - of constants, as all here
_CONTAINING: Final = text(f"""
SELECT DISTINCT kit.sku
FROM (SELECT sku, jsonb_array_elements(body -> 'components') ->> 'sku' AS part FROM products
  WHERE {IS_KIT}) AS kit
JOIN unnest(CAST(:skus AS text[])) AS asked (sku) ON asked.sku = kit.part
""")  # noqa: S608
_STOCKED: Final = text("""
SELECT sku, count(*) AS nodes FROM stock WHERE sku = ANY(:skus) AND (on_hand, allocated) <> (0, 0)
GROUP BY sku ORDER BY sku LIMIT 1
""")
_TO_COME: Final = text("""
SELECT sku, source, ref FROM supplies
WHERE sku = ANY(:skus) AND status = 'open' AND quantity > received
ORDER BY sku, source, ref LIMIT 1
""")


async def recipes(conn: AsyncConnection, skus: Collection[str]) -> dict[str, Kit]:
    """Those of the SKUs that are kits, and what they are made of."""
    if not skus:
        return {}
    rows = await conn.execute(_RECIPES, {"skus": list(set(skus))})
    return {row.sku: Kit.model_validate(dict(row._mapping)) for row in rows}  # noqa: SLF001


async def containing(conn: AsyncConnection, skus: Collection[str]) -> set[str]:
    """The kits of which one of these is a component."""
    rows = await conn.execute(_CONTAINING, {"skus": list(set(skus))})
    return set(rows.scalars())


async def refuse(conn: AsyncConnection, skus: Collection[str]) -> None:
    """
    To be asked with the pool of these locked, before units of them come in. Raises Invalid(is_kit).
    """
    if found := sorted(await recipes(conn, skus)):
        raise Invalid(f"lines: {is_kit(found[0])}", code="is_kit")


def is_kit(sku: str) -> str:
    return f"{sku} is a kit and has no stock of its own; name its components"


async def judge(conn: AsyncConnection, described: Mapping[str, Product]) -> None:
    """
    Whether these products may be described so. Kits are made of products that are none, and are
    not stocked.

    Raises Invalid(unknown_component, kit_in_kit) or Conflict(kit_has_stock, kit_has_supply), with
    the SKU.
    """
    kits = {sku: product for sku, product in described.items() if product.components}
    if not kits:
        return
    await conn.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
    parts = {component.sku for product in kits.values() for component in product.components}
    await _known(conn, described, parts)
    nested = parts & kits.keys()
    nested |= (await recipes(conn, parts)).keys() - described.keys()
    if nested:
        message = f"components: {min(nested)} is a kit itself; name what it is made of"
        raise Invalid(message, code="kit_in_kit")
    if outer := await containing(conn, kits) - described.keys():
        message = f"components: what {min(outer)} is made of cannot be a kit itself"
        raise Invalid(message, code="kit_in_kit")
    await ledger.open_pool(conn, kits)
    if row := (await conn.execute(_STOCKED, {"skus": list(kits)})).first():
        where = "a node" if row.nodes == 1 else f"{row.nodes} nodes"
        message = f"{row.sku} has units at {where}; a kit has none: count them down to 0 first"
        raise Conflict(message, code="kit_has_stock")
    if row := (await conn.execute(_TO_COME, {"skus": list(kits)})).first():
        message = f"{row.sku} is to come by {row.source}/{row.ref}; a kit has none: cancel it first"
        raise Conflict(message, code="kit_has_supply")


async def _known(
    conn: AsyncConnection, described: Mapping[str, Product], parts: Collection[str]
) -> None:
    asked = sorted(set(parts) - described.keys())
    query = text("SELECT sku FROM products WHERE sku = ANY(:skus)")
    found = set((await conn.execute(query, {"skus": asked})).scalars())
    if unknown := [sku for sku in asked if sku not in found]:
        message = f"components: {unknown[0]} is not in the catalogue; describe it first"
        raise Invalid(message, code="unknown_component")
