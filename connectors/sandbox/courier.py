"""Keeps the partners going: does what is due, sends what is due, tries again until it is taken."""

import asyncio
import json
import logging
import sqlite3
from http import HTTPStatus
from typing import Final

import httpx

from connectors.sandbox import node_steps, outgoing, signing
from connectors.sandbox.config import ShopifyConfig
from connectors.sandbox.outgoing import Kind
from connectors.sandbox.world import World, iso

AT_ONCE: Final = 16
LONGEST_NAP: Final = 0.5
FINAL: Final = frozenset(
    {HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY}
)

_log = logging.getLogger(__name__)


class Courier:
    """Runs beside the server. Sends each message until a 2xx, or until refusals add up."""

    def __init__(self, world: World, client: httpx.AsyncClient) -> None:
        self._world, self._client = world, client
        self._flying: set[int] = set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._world.wake.clear()
                node_steps.perform_due(self._world)
                limit = AT_ONCE + len(self._flying)
                for row in outgoing.due(self._world.store, self._world.now_ms(), limit):
                    if row["id"] not in self._flying and len(self._flying) < AT_ONCE:
                        self._flying.add(row["id"])
                        tasks.create_task(self._deliver(row))
                await self._nap()

    async def _nap(self) -> None:
        due, seconds = outgoing.next_due(self._world.store), LONGEST_NAP
        if due is not None and not self._flying:
            seconds = min(max((due - self._world.now_ms()) / 1000, 0.002), LONGEST_NAP)
        elif due is not None:
            seconds = 0.02
        try:
            await asyncio.wait_for(self._world.wake.wait(), seconds)
        except TimeoutError:
            return

    async def _deliver(self, row: sqlite3.Row) -> None:
        try:
            if self._is_wanted(row):
                await self._attempt(row)
        finally:
            self._flying.discard(row["id"])
            self._world.wake.set()

    async def _attempt(self, row: sqlite3.Row) -> None:
        try:
            answer = await self._client.post(
                row["path"], content=row["body"], headers=self._headers(row)
            )
        except httpx.HTTPError as error:
            self._again(row, type(error).__name__)
            return
        said = f"{answer.status_code} {answer.text[:200]}"
        if answer.is_success:
            self._took(row, said)
        elif (
            answer.status_code in FINAL and row["attempts"] + 1 >= self._world.config.give_up_after
        ):
            self._give_up(row, said)
        else:
            self._again(row, said)

    def _took(self, row: sqlite3.Row, said: str) -> None:
        store = self._world.store
        with store.transaction():
            outgoing.sent(store, row["id"], answer=said, at=iso(self._world.now()))
            if row["kind"] == Kind.HAND_OVER:
                node_steps.handed_over(self._world, row["sender"], row["subject"])

    def _again(self, row: sqlite3.Row, said: str) -> None:
        first, longest = self._world.config.retry_ms
        wait = min(first * 2 ** min(row["attempts"], 20), longest)
        due_ms = self._world.now_ms() + wait
        outgoing.failed(self._world.store, row["id"], answer=said, due_ms=due_ms)

    def _give_up(self, row: sqlite3.Row, said: str) -> None:
        _log.warning("%s gives up on %s %s: %s", row["sender"], row["kind"], row["subject"], said)
        outgoing.gave_up(self._world.store, row["id"], answer=said, at=iso(self._world.now()))

    def _is_wanted(self, row: sqlite3.Row) -> bool:
        sender, config = row["sender"], self._world.config
        if sender not in config.nodes and sender not in config.shops:
            self._give_up(row, "the sandbox no longer plays this partner")
            return False
        if row["kind"] != Kind.HAND_OVER:
            return True
        if node_steps.is_waiting(self._world, sender, row["subject"]):
            return True
        self._give_up(row, "the goods are no longer at the counter")
        return False

    def _headers(self, row: sqlite3.Row) -> dict[str, str]:
        headers: dict[str, str] = {"Content-Type": "application/json", **json.loads(row["headers"])}
        config = self._world.config
        if row["kind"] == Kind.HAND_OVER:
            headers["Authorization"] = f"Bearer {config.nodes[row['sender']].api_key}"
        elif row["kind"] == Kind.NODE_EVENT:
            secret, now = config.nodes[row["sender"]].secret, int(self._world.now().timestamp())
            headers |= signing.webhook_headers(secret, row["message_id"], now, row["body"])
        else:
            shop = config.shops[row["sender"]]
            if isinstance(shop, ShopifyConfig):
                mac = signing.shopify_hmac(shop.webhook_secret, row["body"])
                headers["X-Shopify-Hmac-Sha256"] = mac
        return headers
