"""Where partners push: verified over the raw bytes, stored, answered; nothing else happens here."""

from __future__ import annotations

import json
from typing import Annotated, Final

from fastapi import APIRouter, Header, Request, status

from api import problems
from api.answers import Stored
from api.intake import EVENT_BODY, SHOPIFY_BODY, store_event, store_shopify
from api.problems import Unauthorized
from api.schemas import ShopifyHeaders
from api.security import Keeper, no_fulfillment
from api.services import Serving
from connectors import signing
from connectors.nodes import parse_event
from storage import records
from storage.database import transaction

# The topics whose body is an order. Others carry ids of their own that would be taken for one.
ORDER_TOPICS: Final = frozenset(
    {
        "orders/create",
        "orders/updated",
        "orders/paid",
        "orders/cancelled",
        "orders/fulfilled",
        "orders/partially_fulfilled",
    }
)

router = APIRouter(prefix="/webhooks", tags=["webhooks"])


@router.post(
    "/shopify/{channel}",
    responses=problems.documented(401, 413, 422, 503),
    openapi_extra=SHOPIFY_BODY,
)
async def shopify(
    channel: str,
    request: Request,
    services: Serving,
    keeper: Keeper,
    headers: Annotated[ShopifyHeaders, Header()],
) -> Stored:
    """
    A shop's webhook, signed by Shopify over its raw body. Stored once by its delivery id.

    200 means that it is safe with us, however often it comes; what it leads to follows later.
    Topics whose body is no order are answered and left aside.
    """
    raw = await request.body()
    secrets = await keeper.secret(f"channel:{channel}", "webhook_secret")
    signature = headers.x_shopify_hmac_sha256
    if not signing.verify_shopify(json.loads(secrets or "[]"), signature, raw):
        raise Unauthorized("the signature does not match")
    if headers.x_shopify_topic not in ORDER_TOPICS:
        return Stored(new=False)
    async with transaction(services.engine) as conn:
        new = await store_shopify(conn, channel, headers, raw)
    return Stored(new=new)


@router.post(
    "/nodes/{node}",
    status_code=status.HTTP_202_ACCEPTED,
    responses=problems.documented(401, 404, 413, 422, 503),
    openapi_extra=EVENT_BODY,
)
async def node_event(node: str, request: Request, services: Serving, keeper: Keeper) -> Stored:
    """
    A node's event, signed as `docs/node-protocol.md` says. 202 means stored, now or before.

    Send it again until 2xx. Order does not matter; late and double events are absorbed.
    """
    raw = await request.body()
    secret = await keeper.secret(f"node:{node}", "secret")
    if secret is None or not signing.verify([secret], request.headers, raw, now=services.clock()):
        raise Unauthorized("the signature does not match, or it is older than five minutes")
    event = parse_event(node, raw)
    async with transaction(services.engine) as conn:
        fulfillment = await records.fulfillment(conn, event.fulfillment_id)
        if fulfillment is None or fulfillment.node != node:
            raise no_fulfillment(event.fulfillment_id)
        return Stored(new=await store_event(conn, event, fulfillment, raw))
