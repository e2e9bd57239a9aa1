"""Plays a Shopify shop's Admin API: GraphQL 2026-10 with its token, its costs and its throttle."""

import asyncio
import hmac
from collections.abc import Callable
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    build_schema,
    execute_sync,
    parse,
    validate,
)
from pydantic import BaseModel, ValidationError

from connectors.sandbox import knobs, shopify_cost, shopify_orders
from connectors.sandbox.config import ShopifyConfig
from connectors.sandbox.knobs import Behaviour
from connectors.sandbox.shopify_cost import Bucket
from connectors.sandbox.shopify_mutations import Mutations
from connectors.sandbox.shopify_tree import Forest, Tree, number
from connectors.sandbox.world import World


class Question(BaseModel):
    query: str
    variables: dict[str, Any] | None = None
    operationName: str | None = None  # noqa: N815 as GraphQL over HTTP spells it


@lru_cache(maxsize=1)
def schema() -> GraphQLSchema:
    return build_schema((Path(__file__).parent / "shopify.graphql").read_text())


def router(world: World) -> APIRouter:
    routes = APIRouter(prefix="/shops/{shop}/admin/api/{version}", tags=["shopify"])
    buckets: dict[str, Bucket] = {}

    @routes.post("/graphql.json")
    async def graphql(shop: str, version: str, request: Request) -> JSONResponse:
        config = world.config.shops.get(shop)
        if not isinstance(config, ShopifyConfig) or version != shopify_orders.VERSION:
            return _plain(HTTPStatus.NOT_FOUND, "Not Found")
        called = knobs.take_for_call(world.store, "shop", shop)
        if Behaviour.DEAD in called:
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE, "Unavailable Shop")
        token = request.headers.get("x-shopify-access-token", "")
        if not hmac.compare_digest(token.encode(), config.access_token.encode()):
            return _plain(HTTPStatus.UNAUTHORIZED, "[API] Invalid API key or access token")
        try:
            question = Question.model_validate_json(await request.body())
        except ValidationError:
            return _plain(HTTPStatus.BAD_REQUEST, "Required parameter missing or invalid")
        bucket = buckets.setdefault(shop, Bucket(config.restore_rate))
        answer = _answer(world, shop, question, bucket, throttled=Behaviour.THROTTLE in called)
        if late := called.get(Behaviour.LATE):
            await asyncio.sleep(late.ms / 1000)
        if Behaviour.LOST_ANSWER in called:
            return _plain(HTTPStatus.BAD_GATEWAY, "Bad Gateway")
        return JSONResponse(answer)

    return routes


def _answer(
    world: World, shop: str, question: Question, bucket: Bucket, *, throttled: bool
) -> Tree:
    try:
        document = parse(question.query)
    except GraphQLError as error:
        return {"errors": [error.formatted]}
    if faults := validate(schema(), document):
        return {"errors": [fault.formatted for fault in faults]}
    variables = question.variables or {}
    wanted = shopify_cost.requested(document, variables)
    if throttled or bucket.available() < min(wanted, bucket.most):
        refusal: Tree = {"message": "Throttled", "extensions": {"code": "THROTTLED"}}
        return {"errors": [refusal], "extensions": {"cost": _cost(wanted, None, bucket)}}
    answer = _execute(world, shop, document, variables, question.operationName)
    spent = shopify_cost.actual(answer.get("data"))
    bucket.take(spent)
    return {**answer, "extensions": {"cost": _cost(wanted, spent, bucket)}}


def _execute(
    world: World, shop: str, document: DocumentNode, variables: Tree, operation: str | None
) -> Tree:
    root = _root(Forest(world, shop), Mutations(world, shop))
    result = execute_sync(
        schema(), document, root, variable_values=variables, operation_name=operation
    )
    for fault in result.errors or ():
        if fault.original_error and not isinstance(fault.original_error, GraphQLError):
            raise fault.original_error
    return {
        "data": result.data,
        **({"errors": [e.formatted for e in result.errors]} if result.errors else {}),
    }


def _root(forest: Forest, mutations: Mutations) -> dict[str, Callable[..., Tree | None]]:
    return {
        "order": lambda _info, id: forest.order(number("Order", id)),  # noqa: A006 the API's name
        "orders": lambda _info, sortKey="PROCESSED_AT", query=None, **page: forest.orders(  # noqa: N803
            sort_key=sortKey, query=query or "", **page
        ),
        "fulfillmentOrder": lambda _info, id: forest.fulfillment_order(  # noqa: A006 the API's name
            number("FulfillmentOrder", id)
        ),
        "fulfillment": lambda _info, id: forest.fulfillment(  # noqa: A006 the API's name
            number("Fulfillment", id)
        ),
        "fulfillmentCreate": lambda _info, fulfillment, **_: mutations.create(fulfillment),
        "fulfillmentOrderLineItemsPreparedForPickup": (
            lambda _info, input: mutations.prepared_for_pickup(input)  # noqa: A006 the API's name
        ),
        "fulfillmentEventCreate": (
            lambda _info, fulfillmentEvent: mutations.create_event(fulfillmentEvent)  # noqa: N803
        ),
        "orderCancel": (
            lambda _info, orderId, reason, **_: mutations.cancel(orderId, reason)  # noqa: N803
        ),
    }


def _cost(wanted: int, spent: int | None, bucket: Bucket) -> Tree:
    return {
        "requestedQueryCost": wanted,
        "actualQueryCost": spent,
        "throttleStatus": {
            "maximumAvailable": float(bucket.most),
            "currentlyAvailable": bucket.available(),
            "restoreRate": float(bucket.restore_rate),
        },
    }


def _plain(status: HTTPStatus, text: str) -> JSONResponse:
    return JSONResponse({"errors": text}, status)
