"""Lets a test or a demo play the outside world: place orders, turn knobs, look at what happened."""

import hmac
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Request
from pydantic import BaseModel, ConfigDict

from connectors.sandbox import knobs, magento_orders, node_work, shopify_orders
from connectors.sandbox.config import Frozen, ShopConfig, ShopifyConfig
from connectors.sandbox.knobs import Knobs
from connectors.sandbox.shop_orders import OrderSpec, Place, Webhooks
from connectors.sandbox.world import World


class Placed(Frozen):
    id: int
    name: str = ""


class Cancellation(Frozen):
    reason: Literal["customer", "declined", "fraud", "inventory", "staff", "other"] = "customer"


class OrderBody(BaseModel):
    """An order in Shopify's own words, whatever else is in it."""

    model_config = ConfigDict(extra="allow")

    id: int
    line_items: list[dict[str, Any]]


class Adoption(Frozen):
    """How an order that is given in Shopify's own words is delivered and told."""

    body: OrderBody
    method: Literal["ship", "pickup"] = "ship"
    location: Place | None = None
    webhooks: Webhooks = Webhooks()


def router(world: World) -> APIRouter:
    gate = Depends(_gate(world))
    routes = APIRouter(prefix="/_control", tags=["control"], dependencies=[gate])
    _node_routes(world, routes)
    _shop_routes(world, routes)

    @routes.get("/summary")
    async def summary() -> dict[str, Any]:
        return _summary(world)

    return routes


def _node_routes(world: World, routes: APIRouter) -> None:
    @routes.put("/nodes/{node}")
    async def turn(node: str, wanted: Knobs) -> Knobs:
        if node not in world.config.nodes:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"no node {node}")
        knobs.put(world.store, "node", node, wanted.model_copy(update={"node": ""}))
        return wanted

    @routes.put("/skus/{sku}")
    async def turn_for_sku(sku: str, wanted: Knobs) -> Knobs:
        knobs.put(world.store, "sku", sku, wanted)
        return wanted

    @routes.post("/nodes/{node}/release")
    async def release(node: str) -> dict[str, int]:
        return {"moved": node_work.release(world, node)}


def _shop_routes(world: World, routes: APIRouter) -> None:
    @routes.put("/shops/{shop}")
    async def turn(shop: str, wanted: Knobs) -> Knobs:
        _shop(world, shop)
        knobs.put(world.store, "shop", shop, wanted.model_copy(update={"node": ""}))
        return wanted

    @routes.post("/shops/{shop}/orders", status_code=HTTPStatus.CREATED)
    async def place(shop: str, spec: OrderSpec) -> Placed:
        makes = shopify_orders if isinstance(_shop(world, shop), ShopifyConfig) else magento_orders
        order_id, name = makes.place(world, shop, spec)
        return Placed(id=order_id, name=name)

    @routes.post("/shops/{shop}/payloads", status_code=HTTPStatus.CREATED)
    async def adopt(shop: str, given: Adoption) -> Placed:
        if not isinstance(_shop(world, shop), ShopifyConfig):
            raise HTTPException(HTTPStatus.CONFLICT, "only a Shopify shop takes payloads")
        how = shopify_orders.Delivery(given.method, given.location, given.webhooks)
        order_id, name = shopify_orders.adopt(world, shop, given.body.model_dump(), how)
        return Placed(id=order_id, name=name)

    @routes.post("/shops/{shop}/orders/{order_id}/cancel")
    async def cancel(shop: str, order_id: int, how: Cancellation | None = None) -> Placed:
        reason = (how or Cancellation()).reason
        if isinstance(_shop(world, shop), ShopifyConfig):
            fault = shopify_orders.cancel(world, shop, order_id, reason)
        else:
            fault = _cancel_magento(world, shop, order_id)
        if fault:
            raise HTTPException(HTTPStatus.CONFLICT, fault)
        return Placed(id=order_id)


def _gate(world: World) -> Callable[[Request], None]:
    def check(request: Request) -> None:
        given = request.headers.get("authorization", "")
        expected = f"Bearer {world.config.control_token}"
        if not hmac.compare_digest(given.encode(), expected.encode()):
            raise HTTPException(HTTPStatus.UNAUTHORIZED, "give the control token")

    return check


def _shop(world: World, shop: str) -> ShopConfig:
    config = world.config.shops.get(shop)
    if config is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no shop {shop}")
    return config


def _cancel_magento(world: World, shop: str, order_id: int) -> str:
    try:
        done = magento_orders.cancel(world, shop, order_id)
    except magento_orders.Fault as fault:
        return fault.message
    return "" if done else "The order can no longer be cancelled."


def _summary(world: World) -> dict[str, Any]:
    store = world.store

    def counted(sql: str) -> dict[str, int]:
        return {row[0]: row[1] for row in store.all(sql)}

    return {
        "requests": counted("SELECT status, count(*) FROM node_requests GROUP BY status"),
        "requests_by_node": counted("SELECT node, count(*) FROM node_requests GROUP BY node"),
        "repeats": store.number(
            "SELECT sum(times_received - 1) FROM node_requests WHERE times_received > 1"
        ),
        "units_shipped": counted("SELECT node, sum(quantity) FROM node_shipments GROUP BY node"),
        "orders": counted("SELECT shop, count(*) FROM shop_orders GROUP BY shop"),
        "fulfillments": counted("SELECT shop, count(*) FROM shop_fulfillments GROUP BY shop"),
        "waiting": store.number(
            "SELECT count(*) FROM outgoing WHERE sent_at IS NULL AND gave_up_at IS NULL"
        ),
        "steps_to_do": store.number("SELECT count(*) FROM node_steps"),
        "gave_up": [
            dict(row)
            for row in store.all(
                "SELECT kind, sender, subject, answer FROM outgoing"
                " WHERE gave_up_at IS NOT NULL ORDER BY id DESC LIMIT 50"
            )
        ],
        "knobs": knobs.shown(store),
    }
