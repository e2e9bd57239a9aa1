"""A whole stack of its own, whose partners do as they are told, and whose patience is seconds."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx

from cli.stack.record import Ports
from cli.stack.site import NAMESPACE, Site
from connectors.sandbox.config import SandboxConfig, load
from workflows.messages import Patience

ROOT: Final = Path(__file__).parents[2]
PATIENCE: Final = Patience.model_validate({"dispatch": "PT4S", "recall": "PT3S"})
CUSTOMER: Final = "Ada Nguyen"
SCOPES: Final = ("ops", "orders:read", "orders:write")
AT_MOST_SECONDS: Final = 60


@dataclass(frozen=True)
class Goods:
    """Goods of the sample network that orders from `postal_code` get from `node` first."""

    sku: str
    node: str
    postal_code: str
    city: str
    region: str


LOUISVILLE: Final = Goods("SCN-SILENT", "TPL-LOU", "40202", "Louisville", "KY")  # else DC-HAZ
BETHLEHEM: Final = Goods("SCN-CANCEL", "DC-HAZ", "18015", "Bethlehem", "PA")


class Stack:
    """What a person at a terminal, a shop and the outside world do to it."""

    def __init__(self, home: Path) -> None:
        clean = {name: os.environ[name] for name in os.environ if "CROSSDOCK" not in name}
        self._environment = {
            **clean,
            "PYTHONPATH": str(ROOT),
            "CROSSDOCK_HOME": str(home),
            "CROSSDOCK_PATIENCE": PATIENCE.model_dump_json(),
            "CROSSDOCK_RECONCILE_SECONDS": "3",
        }
        self._site = Site("up", home)
        self._key = ""

    @property
    def ports(self) -> Ports:
        record = self._site.record()
        assert record is not None
        return record.ports

    @property
    def ui(self) -> str:
        return f"http://127.0.0.1:{self.ports.ui}/namespaces/{NAMESPACE}"

    @property
    def api(self) -> str:
        return f"http://127.0.0.1:{self.ports.api}"

    @property
    def sandbox(self) -> str:
        return f"http://127.0.0.1:{self.ports.sandbox}"

    @property
    def partners(self) -> SandboxConfig:
        return load(self._site.sandbox_file)

    # ---- at the terminal

    def does(self, *words: str) -> str:
        """`./crossdock` with these words, and what it says."""
        return self._run(sys.executable, "-P", "-m", "cli", *words)

    def up(self) -> None:
        self.does("up", "--detach")
        self._key = self.key(*SCOPES)

    def key(self, *scopes: str) -> str:
        return self.does("key", "create", "browser", *(w for s in scopes for w in ("-s", s)))

    def temporal(self, *words: str) -> str:
        """Temporal's own command line."""
        program = str(Path(sys.executable).parent / "temporal")
        address = f"127.0.0.1:{self.ports.temporal}"
        return self._run(program, *words, "--address", address, "--namespace", NAMESPACE)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    # ---- as a shop

    async def order(self, number: str, goods: Goods, quantity: int = 1) -> str:
        """Place an order; its id."""
        line = {"line_id": "1", "sku": goods.sku, "quantity": quantity, "unit_price_minor": 2500}
        ship_to = {
            "name": CUSTOMER,
            "line1": "12 Oak St",
            "city": goods.city,
            "region": goods.region,
            "postal_code": goods.postal_code,
            "country": "US",
        }
        body = {
            "channel": "api",
            "channel_order_id": number,
            "placed_at": datetime.now(UTC).isoformat(),
            "currency": "USD",
            "total_minor": 2500 * quantity,
            "lines": [line],
            "ship_to": ship_to,
        }
        await self._ask("POST", f"{self.api}/v1/orders", self._key, body)
        return f"api-{number}"

    async def card(self, order_id: str) -> dict[str, Any]:
        return await self._ask("GET", f"{self.api}/v1/orders/{order_id}", self._key)

    async def until_status(self, order_id: str, status: str) -> None:
        await self._until_card(order_id, lambda card: card["status"] == status, status)

    async def until_stuck(self, order_id: str, code: str) -> None:
        def stuck(card: dict[str, Any]) -> bool:
            return code in [attention["code"] for attention in card["attention"]]

        await self._until_card(order_id, stuck, code)

    async def _until_card(
        self, order_id: str, holds: Callable[[dict[str, Any]], bool], what: str
    ) -> None:
        async def look() -> bool:
            return holds(await self.card(order_id))

        await until(look, f"{order_id} is {what}")

    # ---- as the outside world

    async def dead(self, node: str) -> None:
        await self._turn(f"/nodes/{node}", {"behaviour": "dead"})

    async def alive(self, node: str) -> None:
        await self._turn(f"/nodes/{node}")

    async def slow(self, goods: Goods, seconds: float) -> None:
        """Whoever is asked for these goods ships them only after a while."""
        await self._turn(f"/skus/{goods.sku}", {"behaviour": "slow", "ms": int(seconds * 1000)})

    async def silent(self, goods: Goods) -> None:
        """Whoever is asked for these goods says nothing, and does nothing until `goes_on`."""
        await self._turn(f"/skus/{goods.sku}", {"behaviour": "silent"})

    async def goes_on(self, node: str) -> None:
        url = f"{self.sandbox}/_control/nodes/{node}/release"
        await self._ask("POST", url, self.partners.control_token)

    async def _turn(self, path: str, *behaviours: dict[str, Any]) -> None:
        body = {"behaviours": list(behaviours)}
        await self._ask("PUT", f"{self.sandbox}/_control{path}", self.partners.control_token, body)

    def asked(self, order_id: str) -> dict[str, tuple[str, int]]:
        """By the partners' own log: each request for the order, its state, how often it came."""
        with sqlite3.connect(self.partners.database) as log:
            rows = log.execute(
                "SELECT fulfillment_id, status, times_received FROM node_requests"
                " WHERE fulfillment_id LIKE ?",
                (f"{order_id}-F%",),
            ).fetchall()
        log.close()
        return {fulfillment: (status, times) for fulfillment, status, times in rows}

    async def until_asked(self, order_id: str, status: str) -> None:
        async def look() -> bool:
            return status in [found for found, _ in self.asked(order_id).values()]

        await until(look, f"the node's request for {order_id} is {status}")

    async def _ask(
        self, method: str, url: str, token: str, body: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(timeout=30) as http:
            answer = await http.request(method, url, json=body, headers=headers)
        assert answer.is_success, f"{method} {url}: {answer.status_code} {answer.text[:300]}"
        found: dict[str, Any] = answer.json()
        return found


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + AT_MOST_SECONDS
    while not await holds():
        assert loop.time() < deadline, f"waited in vain until {what}"
        await asyncio.sleep(0.3)
