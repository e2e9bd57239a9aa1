"""Quotes over HTTP, asked for at fixed clocks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any

import httpx
import pytest

from tests.api.conftest import Api, MakeKey, serving
from tests.api.promising import local, open_shop

TUESDAY = local("2026-09-01T09:00")
MUGS = ("MUG", 2)
At = Callable[[datetime], AbstractAsyncContextManager[httpx.AsyncClient]]
Json = dict[str, Any]


@pytest.fixture(scope="module", autouse=True)
async def shop(api: Api) -> None:
    await open_shop(api.services.engine)


@pytest.fixture
def at(api: Api, key: MakeKey) -> At:
    """A client of an API at whose place it is that time."""

    @asynccontextmanager
    async def client(now: datetime) -> AsyncIterator[httpx.AsyncClient]:
        headers = await key("orders:write")
        async with (
            serving(api.services, clock=lambda: now) as url,
            httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as http,
        ):
            yield http

    return client


async def quoted(at: At, now: datetime, body: Json) -> Json:
    async with at(now) as http:
        answer = await http.post("/v1/promises", json=body)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def refused(at: At, body: Json, now: datetime = TUESDAY) -> tuple[str, Json]:
    """The code, and the message by field."""
    async with at(now) as http:
        answer = await http.post("/v1/promises", json=body)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    return problem["code"], {e["field"]: e["message"] for e in problem.get("errors", ())}


def option(quote: Json, service: str) -> Json:
    return next(o for o in quote["ship"] if o["service"] == service)


def utc(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
