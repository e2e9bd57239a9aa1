"""The HTTP face: routers, problems, limits and the document that describes them."""

from __future__ import annotations

from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api import (
    availability,
    batches,
    channels,
    codec,
    commands,
    decisions,
    feeds,
    fulfillments,
    health,
    intake_log,
    nodes,
    orders,
    prices,
    problems,
    promises,
    rates,
    repairs,
    reservations,
    rules,
    security,
    sessions,
    sourcing,
    stock,
    stock_rules,
    supplies,
    webhooks,
)
from api.limits import Limits
from api.services import Services

_TAGS: Final = [
    {"name": "orders", "description": "Place, find, explain, and steer what is under way."},
    {"name": "promises", "description": "What a cart would cost, and when it would come."},
    {"name": "sourcing", "description": "The engine alone: your orders, nodes, stock and rates."},
    {"name": "reservations", "description": "Units kept for a cart, a checkout or an order."},
    {"name": "fulfillments", "description": "A node's share: its worklist and its events."},
    {"name": "nodes", "description": "The places that fulfill, and whether they are up."},
    {"name": "rates", "description": "What it costs to send a package, by service."},
    {"name": "stock", "description": "Products, units on hand, and what may be sold."},
    {"name": "rules", "description": "What decides where orders are sourced, in versions."},
    {"name": "repairs", "description": "What is wrong in the books, and what is done about it."},
    {
        "name": "channels",
        "description": "Where orders come from, what became of each, and their secrets.",
    },
    {"name": "webhooks", "description": "Where shops and nodes push, signed."},
    {"name": "codec", "description": "Opens sealed payloads for the Temporal UI."},
    {"name": "health", "description": "For load balancers and people in a hurry."},
]
_ABOUT: Final = (
    "Distributed order management. Money is in minor units, times have their zone, lists come in "
    "pages with a cursor, and every error is an RFC 9457 problem with a stable code."
)
_IN_PATHS: Final = {
    "order_id": "The channel's code, a hyphen, and the channel's own id of the order.",
    "fulfillment_id": "As a node's request and the order's card name it.",
    "channel": "The channel's code.",
    "node": "The node's code.",
    "key": "The caller's own name for the reservation.",
    "code": "Letters, digits and hyphens; it stays.",
    "kind": "Of a signal: capacity_percent, lead_hours or offline_for_sourcing.",
    "sku": "As the catalogue names it.",
}
_PROBLEM: Final = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
_OF_BODIES: Final = {
    "400": {"description": "The body cannot be decoded.", "content": _PROBLEM},
    "413": {"description": "The body is too large.", "content": _PROBLEM},
    "415": {"description": "The body is not JSON.", "content": _PROBLEM},
}
_COMMON: Final = problems.documented(401, 403, 422, 503)


def create_app(services: Services) -> FastAPI:
    """The application over these services; what it opens ends with its lifespan."""
    app = FastAPI(
        title="Crossdock",
        version="1",
        openapi_tags=_TAGS,
        docs_url=None,
        redoc_url=None,
        lifespan=reservations.closing,
    )
    security.install(app.state, services)
    availability.install(app.state, services)
    reservations.install(app, services)
    problems.install(app)
    stocks = (stock, availability, stock_rules, feeds, supplies)
    settings = (nodes, rates, *stocks, rules, batches, prices, repairs, channels)
    explained = (decisions, sourcing)
    orderly = (orders, commands, *explained, promises, reservations, fulfillments)
    for module in (*orderly, *settings, intake_log):
        app.include_router(module.router, responses=_COMMON)
    for router in (webhooks.router, codec.router, health.router, sessions.router):
        app.include_router(router)
    app.add_middleware(codec.CodecCors, origins=services.ui_origins)
    app.add_middleware(Limits)
    app.openapi = lambda: _described(app)  # type: ignore[method-assign]
    return app


def _described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, in which errors are what they are: problems."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=_ABOUT,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        for operations in document["paths"].values():
            for operation in operations.values():
                _tell(operation)
        for calendar in ("Calendar", "PutCalendar"):
            for time in ("opens", "closes", "cutoff"):
                # The format `time` of OpenAPI has a zone; these are on the node's own clock.
                del document["components"]["schemas"][calendar]["properties"][time]["format"]
        for unused in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(unused, None)
        app.openapi_schema = document
    return app.openapi_schema


def _tell(operation: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path" and "description" not in parameter:
            parameter["description"] = _IN_PATHS[parameter["name"]]
    if "requestBody" in operation:
        operation["responses"] |= _OF_BODIES
    _say_problems(operation["responses"])
    operation["summary"] = operation["description"].partition(".")[0]


def _say_problems(responses: dict[str, Any]) -> None:
    for response in responses.values():
        schema = response.get("content", {}).get("application/json", {}).get("schema", {})
        if schema.get("$ref", "").rpartition("/")[2] in ("ProblemDetails", "HTTPValidationError"):
            response["content"] = _PROBLEM
