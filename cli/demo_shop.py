"""The hands of the demo: it orders at the sandbox shops and works through the public API."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final

import httpx

from cli.sample import DemoOrder, Staged
from domain.errors import Refused
from domain.orders import DeliveryMethod, order_id

# How long a node is `slow`: longer than the demo takes to cancel its order or take it down.
_SLOW_MS: Final = 60_000
_TRIES: Final = 12  # more, where a machine is too busy to answer in time


class Shop:
    """`sandbox` is where partners are turned and ordered at, `api` our own, with a key for it."""

    def __init__(  # noqa: PLR0913 - two doors and their keys
        self,
        http: httpx.AsyncClient,
        sandbox: str,
        token: str,
        api: str,
        key: str,
        *,
        slow_ms: int = _SLOW_MS,
    ) -> None:
        self._http, self._slow_ms = http, slow_ms
        self._sandbox, self._token = sandbox, token
        self._api, self._key = api, key

    async def stage(self, staged: Staged) -> None:
        """Have a partner misbehave for the goods of a scenario."""
        if staged.behaviour:
            knob = {"behaviour": staged.behaviour, "ms": self._slow_ms, "reason": "no stock"}
            body = {"behaviours": [knob], "node": staged.knob_node}
            await self._control("PUT", f"/skus/{staged.sku}", body)

    async def place(self, order: DemoOrder) -> tuple[str, datetime]:
        """Order; the order's id and when it was sent."""
        at = datetime.now(UTC)
        if order.channel == "api":
            await self._call("POST", "/v1/orders", _direct(order, at))
            return order_id("api", order.number), at
        placed = await self._control("POST", f"/shops/{order.channel}/orders", _spec(order))
        number = str(placed["id"]) if order.channel == "webshop" else placed["name"]
        return order_id(order.channel, number), at

    async def cancel(self, order: str, placed: DemoOrder) -> None:
        """The customer cancels at the shop; where the shop is the API, customer service does."""
        if placed.channel == "webshop":
            number = order.removeprefix("webshop-")
            await self._control("POST", f"/shops/webshop/orders/{number}/cancel", {})
        else:
            await self._call("POST", f"/v1/orders/{order}/cancel", {"note": "changed my mind"})

    async def release(self, order: str) -> None:
        await self._call("POST", f"/v1/orders/{order}/holds/release", {"note": "looks genuine"})

    async def receive(self, node: str, sku: str, quantity: int) -> None:
        lines = [{"sku": sku, "quantity": quantity}]
        body = {"node": node, "key": f"demo-{sku}", "lines": lines}
        await self._call("POST", "/v1/stock/receipts", body)

    async def node(self, code: str, way: str) -> None:
        await self._call("POST", f"/v1/nodes/{code}/{way}", {"reason": f"demo: {way}"})

    async def _control(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return await self._ask(method, f"{self._sandbox}/_control{path}", self._token, body)

    async def _call(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return await self._ask(method, f"{self._api}{path}", self._key, body)

    async def _ask(self, method: str, url: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        answer = await self._http.request(method, url, json=body, headers=headers)
        for _ in range(_TRIES):
            if answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
                break
            await asyncio.sleep(float(answer.headers.get("Retry-After", 5)))
            answer = await self._http.request(method, url, json=body, headers=headers)
            if answer.status_code == HTTPStatus.CONFLICT:
                return {}  # it had been taken, its answer came too late
        if answer.is_error:
            raise Refused(f"{method} {url}: {answer.status_code} {answer.text[:300]}")
        found: dict[str, Any] = answer.json()
        return found


def _direct(order: DemoOrder, at: datetime) -> dict[str, Any]:
    goods = sum(line.unit_price_minor * line.quantity for line in order.lines)
    return {
        "channel": "api",
        "channel_order_id": order.number,
        "placed_at": at.isoformat(),
        "currency": "USD",
        "total_minor": goods,
        "lines": [line.model_dump(exclude={"aliases"}) for line in order.lines],
        "ship_to": order.ship_to.model_dump(),
        "email": order.ship_to.email,
        "method": order.method.value,
        "pickup_node": order.pickup_node,
        "fraud": order.fraud,
    }


def _spec(order: DemoOrder) -> dict[str, Any]:
    """The order as the sandbox shops take it."""
    spec: dict[str, Any] = {
        "lines": [
            {
                "sku": line.sku,
                "quantity": line.quantity,
                "price": str(Decimal(line.unit_price_minor).scaleb(-2)),
                "title": line.title,
            }
            for line in order.lines
        ],
        "method": order.method.value,
        "email": order.ship_to.email,
    }
    if order.method is DeliveryMethod.PICKUP:
        spec["location"] = {
            "code": order.pickup_node,
            "name": _STORES.get(order.pickup_node or "", order.pickup_node),
            "id": sum(map(ord, order.pickup_node or "")),
        }
    else:
        spec["address"] = order.ship_to.model_dump(exclude={"email"})
    return spec


_STORES: Final = {
    "ST-CHI": "Store Magnificent Mile, Chicago",
    "ST-AUS": "Store Congress Avenue, Austin",
}
