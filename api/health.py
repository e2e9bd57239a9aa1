"""Whether this process is up, and whether what it stands on is."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from fastapi import APIRouter, Response, status

from api.answers import Health, Readiness
from api.services import Services, Serving
from storage.database import ping, transaction

router = APIRouter(tags=["health"])

_SECONDS: Final = 3.0


@router.get("/healthz")
async def healthz() -> Health:
    """This process answers."""
    return Health()


@router.get("/readyz", responses={503: {"model": Readiness, "description": "Something is down."}})
async def readyz(services: Serving, response: Response) -> Readiness:
    """Postgres and Temporal can be reached; `down` names what cannot."""
    checks: dict[str, Coroutine[Any, Any, object]] = {
        "postgres": _postgres(services),
        "temporal": services.temporal.service_client.check_health(),
    }
    answers = await asyncio.gather(
        *(asyncio.wait_for(check, _SECONDS) for check in checks.values()), return_exceptions=True
    )
    down = tuple(
        name
        for name, answer in zip(checks, answers, strict=True)
        if answer is False or isinstance(answer, BaseException)
    )
    if down:
        response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    return Readiness(ready=not down, down=down)


async def _postgres(services: Services) -> None:
    async with transaction(services.engine) as conn:
        await ping(conn)
