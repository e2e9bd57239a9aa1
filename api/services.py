"""What the API stands on, made once by the entry point and handed to every request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from domain.quoting import Solve
from workflows.codec import Keyring
from workflows.messages import Patience


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Services:
    """
    `engine` writes, `read_engine` answers searches. `temporal` is connected lazily, so that the API
    starts and takes webhooks while Temporal is down. `solve` finds a plan, and blocks: quotes are
    made with it, in a thread. `ui_origins` may ask the codec endpoint;
    `api_url` is what browsers and partners call us.
    """

    engine: AsyncEngine
    read_engine: AsyncEngine
    temporal: Client
    keyring: Keyring
    patience: Patience
    session_secret: str
    ui_origins: tuple[str, ...]
    api_url: str
    solve: Solve
    clock: Callable[[], datetime] = utc_now


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Serving = Annotated[Services, Depends(services_of)]
