"""What no request may be: too large, or carrying a character that no database stores."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import problems

_MIB: Final = 1024 * 1024
DEFAULT_LIMIT: Final = _MIB
LIMITS: Final = {
    "/webhooks/shopify/": 2 * _MIB,
    "/codec/": 16 * _MIB,
    "/v1/stock/bulk": 256 * _MIB,
    "/v1/sourcing": 8 * _MIB,
}


class Limits:
    """Refuses by Content-Length at once, and by count where none was sent."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
            refusal = problems.answer(422, "invalid", "the address contains a NUL character")
            await refusal(scope, receive, send)
            return
        limit = _limit(scope["path"])
        if _declared(scope) > limit:
            refusal = problems.answer(413, "too_large", _too_large(limit))
            await refusal(scope, receive, send)
            return
        await self._app(scope, _counted(receive, limit), send)


def _limit(path: str) -> int:
    return next((size for start, size in LIMITS.items() if path.startswith(start)), DEFAULT_LIMIT)


def _declared(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _too_large(limit: int) -> str:
    return f"the body is larger than {limit // 1024} KiB"


def _counted(receive: Receive, limit: int) -> Receive:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _too_large(limit))
        return message

    return counted
