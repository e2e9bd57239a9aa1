"""Plays a Magento shop's REST API: OAuth 1.0a, searchCriteria, shipments by source, cancel."""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from connectors.sandbox import knobs, magento_orders, magento_shipments, signing
from connectors.sandbox.config import MagentoConfig
from connectors.sandbox.knobs import Behaviour
from connectors.sandbox.magento_orders import Fault
from connectors.sandbox.magento_shipments import ShipRequest
from connectors.sandbox.world import World

_FILTER: Final = re.compile(
    r"searchCriteria\[(?:filter_groups|filterGroups)\]\[(\d+)\]\[filters\]\[(\d+)\]\[(\w+)\]"
)
_SORT: Final = re.compile(r"searchCriteria\[(?:sortOrders|sort_orders)\]\[(\d+)\]\[(\w+)\]")
_CONDITIONS: Final = {
    "eq": "=",
    "neq": "<>",
    "gt": ">",
    "gteq": ">=",
    "from": ">=",
    "lt": "<",
    "lteq": "<=",
    "to": "<=",
}


@dataclass(frozen=True)
class Resource:
    """What can be searched: a table, its columns by Magento's names, and how a row is shown."""

    table: str
    key: str
    columns: Mapping[str, str]
    show: Callable[[World, str, int], Any]


_ORDERS: Final = Resource(
    "shop_orders",
    "order_id",
    {
        "entity_id": "order_id",
        "increment_id": "name",
        "created_at": "created_at",
        "updated_at": "updated_at",
        "state": "json_extract(body, '$.state')",
        "status": "json_extract(body, '$.status')",
    },
    magento_orders.get,
)
_SHIPMENTS: Final = Resource(
    "shop_fulfillments",
    "fulfillment_id",
    {"entity_id": "fulfillment_id", "order_id": "order_id", "created_at": "created_at"},
    magento_shipments.shown,
)


class Search(BaseModel):
    """A searchCriteria: OR inside a group, AND between groups."""

    groups: dict[str, dict[str, dict[str, str]]] = {}
    sorts: dict[str, dict[str, str]] = {}
    page_size: int = 100
    current_page: int = 1


class PickupNotice(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel)

    order_ids: list[int]


Work = Callable[[bytes], Any]


def router(world: World) -> APIRouter:
    routes = APIRouter(prefix="/shops/{shop}/rest/{store}/V1", tags=["magento"])

    @routes.get("/orders")
    async def orders(shop: str, request: Request) -> JSONResponse:
        return await _served(
            world, shop, request, lambda _raw: _search(world, shop, _ORDERS, request)
        )

    @routes.get("/shipments")
    async def shipments(shop: str, request: Request) -> JSONResponse:
        return await _served(
            world, shop, request, lambda _raw: _search(world, shop, _SHIPMENTS, request)
        )

    @routes.get("/orders/{entity}")
    async def order(shop: str, entity: int, request: Request) -> JSONResponse:
        return await _served(
            world, shop, request, lambda _raw: magento_orders.get(world, shop, entity)
        )

    @routes.post("/orders/{entity}/cancel")
    async def cancel(shop: str, entity: int, request: Request) -> JSONResponse:
        return await _served(
            world, shop, request, lambda _raw: magento_orders.cancel(world, shop, entity)
        )

    @routes.post("/order/notify-orders-are-ready-for-pickup")
    async def ready(shop: str, request: Request) -> JSONResponse:
        def notify(raw: bytes) -> Any:
            wanted = PickupNotice.model_validate_json(raw).order_ids
            mailed, errors = magento_shipments.notify_ready(world, shop, wanted)
            return {"successful": mailed, "errors": errors}

        return await _served(world, shop, request, notify)

    @routes.post("/order/{entity}/ship")
    async def ship(shop: str, entity: int, request: Request) -> JSONResponse:
        def create(raw: bytes) -> str:
            wanted = ShipRequest.model_validate_json(raw or b"{}")
            return str(magento_shipments.ship(world, shop, entity, wanted))

        return await _served(world, shop, request, create)

    return routes


async def _served(world: World, shop: str, request: Request, work: Work) -> JSONResponse:
    config = world.config.shops.get(shop)
    if not isinstance(config, MagentoConfig):
        return _fault(Fault(HTTPStatus.NOT_FOUND, "Request does not match any route."))
    called = knobs.take_for_call(world.store, "shop", shop)
    if Behaviour.DEAD in called:
        return _fault(Fault(HTTPStatus.SERVICE_UNAVAILABLE, "Service Unavailable"))
    raw = await request.body()
    if not _is_trusted(world, config, request):
        text = "The consumer isn't authorized to access %resources."
        parameters = {"resources": "Magento_Sales::sales"}
        return _fault(Fault(HTTPStatus.UNAUTHORIZED, text, parameters))
    try:
        answer = JSONResponse(work(raw))
    except Fault as fault:
        answer = _fault(fault)
    except ValidationError as error:
        fields = ".".join(str(part) for part in error.errors()[0]["loc"])
        text = '"%fieldName" is required. Enter and try again.'
        answer = _fault(Fault(HTTPStatus.BAD_REQUEST, text, {"fieldName": fields}))
    if late := called.get(Behaviour.LATE):
        await asyncio.sleep(late.ms / 1000)
    if Behaviour.LOST_ANSWER in called:
        return _fault(Fault(HTTPStatus.BAD_GATEWAY, "Bad Gateway"))
    return answer


def _is_trusted(world: World, config: MagentoConfig, request: Request) -> bool:
    oauth = config.oauth
    secrets = signing.OAuthSecrets(
        oauth.consumer_key, oauth.consumer_secret, oauth.access_token, oauth.access_token_secret
    )
    given = signing.oauth_parameters(request.headers.get("authorization", ""))
    call = signing.Call(
        method=request.method,
        url=str(request.url.replace(query="", fragment="")),
        query=tuple(request.query_params.multi_items()),
    )
    now = int(world.now().timestamp())
    return not signing.oauth_fault(secrets, call, given, now=now)


def _search(world: World, shop: str, kind: Resource, request: Request) -> Any:
    search = _criteria(request)
    where, values = _where(search, kind.columns)
    order = [
        f"{kind.columns.get(one.get('field', ''), kind.key)} "
        + ("ASC" if one.get("direction", "DESC").upper() == "ASC" else "DESC")
        for one in search.sorts.values()
    ]
    clause = f"FROM {kind.table} WHERE {where}"
    total = world.store.number(f"SELECT count(*) {clause}", shop, *values)
    # Past the last page Magento shows the last page again.
    last = max((total - 1) // search.page_size, 0)
    page = min(max(search.current_page, 1) - 1, last)
    rows = world.store.all(
        f"SELECT {kind.key} {clause} ORDER BY {', '.join([*order, kind.key])} LIMIT ? OFFSET ?",
        *(shop, *values, search.page_size, page * search.page_size),
    )
    return {
        "items": [kind.show(world, shop, row[0]) for row in rows],
        "search_criteria": {
            "filter_groups": [{"filters": list(g.values())} for g in search.groups.values()],
            "sort_orders": list(search.sorts.values()),
            "page_size": search.page_size,
            "current_page": search.current_page,
        },
        "total_count": total,
    }


def _where(search: Search, columns: Mapping[str, str]) -> tuple[str, list[str]]:
    where, values = ["shop = ?"], []
    for group in search.groups.values():
        either = []
        for one in group.values():
            condition = _CONDITIONS.get(one.get("condition_type", "eq"))
            column = columns.get(one.get("field", ""))
            if condition is None or column is None:
                raise Fault(HTTPStatus.BAD_REQUEST, "Invalid search criteria: %1", [str(one)])
            either.append(f"{column} {condition} ?")
            values.append(one.get("value", ""))
        where.append(f"({' OR '.join(either)})")
    return " AND ".join(where), values


def _criteria(request: Request) -> Search:
    groups: dict[str, dict[str, dict[str, str]]] = {}
    sorts: dict[str, dict[str, str]] = {}
    numbers: dict[str, int] = {}
    for name, value in request.query_params.multi_items():
        if match := _FILTER.fullmatch(name):
            part = re.sub(r"conditionType", "condition_type", match[3])
            groups.setdefault(match[1], {}).setdefault(match[2], {})[part] = value
        elif match := _SORT.fullmatch(name):
            sorts.setdefault(match[1], {})[match[2]] = value
        elif name in {"searchCriteria[pageSize]", "searchCriteria[page_size]"} and value.isdigit():
            numbers["page_size"] = max(int(value), 1)
        elif name in {"searchCriteria[currentPage]", "searchCriteria[current_page]"}:
            numbers["current_page"] = int(value) if value.isdigit() else 1
    return Search(groups=groups, sorts=sorts, **numbers)


def _fault(fault: Fault) -> JSONResponse:
    body: dict[str, Any] = {"message": fault.message}
    if fault.parameters is not None:
        body["parameters"] = fault.parameters
    return JSONResponse(body, fault.status)
