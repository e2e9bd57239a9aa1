"""Opens Temporal's sealed payloads for signed-in operators, so that the Web UI can show them."""

from __future__ import annotations

import binascii
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Cookie, Depends, Request, Response
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send
from temporalio.api.common.v1 import Payload, Payloads

from api.problems import Forbidden, Unauthorized, documented
from api.security import SESSION_COOKIE, Bearer, Keeper, opens_payloads
from api.services import Serving
from domain.errors import Invalid
from workflows.codec import EncryptionCodec

PREFIX: Final = "/codec"
_PAYLOADS: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "Temporal's `Payloads` in JSON; the answer has the same shape.",
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}}]},
            }
        },
    }
}


async def operator(
    request: Request,
    services: Serving,
    keeper: Keeper,
    bearer: Bearer,
    session: Annotated[str | None, Cookie(alias=SESSION_COOKIE, include_in_schema=False)] = None,
) -> None:
    """An unbound key or session of scope `ops`, and from no page but the UI's and our own."""
    origin = request.headers.get("origin")
    if origin is not None and origin not in (*services.ui_origins, services.api_url.rstrip("/")):
        raise Forbidden("pages of this origin may not ask")
    if bearer is not None:
        access = await keeper.by_token(bearer.credentials)
    else:
        access = await keeper.by_session(session)
    if access is None or not opens_payloads(access):
        raise Unauthorized("sign in at /login, or send an unbound API key of scope ops")


router = APIRouter(
    prefix=PREFIX,
    tags=["codec"],
    dependencies=[Depends(operator)],
    responses=documented(401, 403),
)


@router.post("/decode", openapi_extra=_PAYLOADS)
async def decode(request: Request, services: Serving) -> Response:
    """Temporal's remote codec: payloads in JSON, opened. What we did not seal passes as it is."""
    return await _coded(request, EncryptionCodec(services.keyring).decode)


@router.post("/encode", openapi_extra=_PAYLOADS)
async def encode(request: Request, services: Serving) -> Response:
    """Temporal's remote codec: payloads in JSON, sealed. The UI needs it to send updates."""
    return await _coded(request, EncryptionCodec(services.keyring).encode)


async def _coded(
    request: Request, code: Callable[[Sequence[Payload]], Awaitable[Iterable[Payload]]]
) -> Response:
    try:
        asked = json_format.Parse(await request.body(), Payloads(), ignore_unknown_fields=True)
    except (json_format.ParseError, UnicodeDecodeError, binascii.Error) as error:
        raise Invalid("the body is not Temporal Payloads in JSON") from error
    try:
        answer = Payloads(payloads=await code(asked.payloads))
    except (DecodeError, UnicodeDecodeError) as error:
        raise Invalid("a payload is sealed, but not as we seal") from error
    return Response(json_format.MessageToJson(answer), media_type="application/json")


class CodecCors:
    """Lets the UI's pages, and only them, read the codec's answers, with the session cookie."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._open = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=["POST", "OPTIONS"],
            allow_headers=["content-type", "x-namespace", "authorization"],
            allow_credentials=True,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        codec = scope["type"] == "http" and scope["path"].startswith(PREFIX + "/")
        await (self._open if codec else self._app)(scope, receive, send)
