"""What there is, what may be sold, and what came in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api import problems
from api.answers import Saved, StockChange
from api.intake import wake_backordered
from api.schemas import FindStock
from api.security import ReadsStock, WritesStock, actor, needs, own_node, whole_network
from api.services import Serving
from api.setup import CountStock, PutProducts, ReceiveStock
from domain.errors import Invalid, NotFound
from domain.network import Product
from storage import network, stock
from storage.access import Access
from storage.database import transaction
from storage.reads import Page
from storage.stock import Level

router = APIRouter(prefix="/v1", tags=["stock"])


@router.get("/stock")
async def levels(
    access: ReadsStock, services: Serving, asked: Annotated[FindStock, Query()]
) -> Page[Level]:
    """Units on hand and allocated, by SKU and node."""
    node = _one_of_its_own(access, asked.node)
    after = _position(asked.cursor) if asked.cursor else None
    async with transaction(services.read_engine) as conn:
        found = await stock.levels(
            conn, skus=asked.sku or None, node=node, after=after, limit=asked.limit
        )
    last = found[-1] if len(found) == asked.limit else None
    return Page(items=found, next=f"{last.node}:{last.sku}" if last else None)


@router.post("/stock/receipts", responses=problems.documented(404))
async def receive(body: ReceiveStock, access: WritesStock, services: Serving) -> StockChange:
    """Units came in at a node. Backordered orders that wait for them try again."""
    own_node(access, body.node)
    lines = [(line.sku, line.quantity) for line in body.lines]
    async with transaction(services.engine) as conn:
        named = (body.supply.source, body.supply.ref) if body.supply else None
        new = await stock.receive(
            conn, body.key, body.node, lines, "received", actor(access), named
        )
        came = {sku for sku, _ in lines} if new else set()
        woken = await wake_backordered(conn, came, f"receipt:{body.node}:{body.key}")
    return StockChange(new=new, woken=woken)


@router.put("/stock/counts", responses=problems.documented(404))
async def count(body: CountStock, access: WritesStock, services: Serving) -> StockChange:
    """What is on hand was counted; never below what is allocated. All lines or none."""
    own_node(access, body.node)
    lines = [(line.sku, line.on_hand) for line in body.lines]
    async with transaction(services.engine) as conn:
        new = await stock.count(conn, body.key, body.node, lines, actor(access))
        counted = {sku for sku, _ in lines} if new else set()
        woken = await wake_backordered(conn, counted, f"count:{body.node}:{body.key}")
    return StockChange(new=new, woken=woken)


@router.put("/products", responses=problems.documented(409))
async def put_products(body: PutProducts, access: WritesStock, services: Serving) -> Saved:
    """Describe up to 1,000 products, new or known. An alias names one product: else a conflict."""
    whole_network(access)
    products = [Product.model_validate(product.model_dump()) for product in body.products]
    async with transaction(services.engine) as conn:
        await network.put_products(conn, products)
    return Saved(saved=len(products))


@router.get(
    "/products/{sku:path}",
    dependencies=[needs("stock:read", "stock:write")],
    responses=problems.documented(404),
)
async def product(sku: str, services: Serving) -> Product:
    """A product as it was last described."""
    async with transaction(services.read_engine) as conn:
        found = await network.product(conn, sku)
    if found is None:
        raise NotFound(f"there is no product {sku}")
    return found


def _one_of_its_own(access: Access, node: str | None) -> str | None:
    """The node to look at; None is all. A key bound to one node need not name it."""
    if node is not None:
        own_node(access, node)
        return node
    if access.nodes is None:
        return None
    if len(access.nodes) != 1:
        raise Invalid("node: this key is bound to several nodes; name one of them")
    return access.nodes[0]


def _position(cursor: str) -> tuple[str, str]:
    node, colon, sku = cursor.partition(":")
    if not colon:
        raise Invalid("cursor: not one that a page before gave")
    return sku, node
