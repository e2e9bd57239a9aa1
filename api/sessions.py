"""Signing in with a browser: a key of scope `ops` becomes a session cookie for twelve hours."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Cookie, Form, Request, status
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api import pages
from api.security import SESSION_COOKIE, SESSION_SECONDS, Keeper, opens_payloads
from api.services import Serving

router = APIRouter(include_in_schema=False)

_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}

Session = Annotated[str | None, Cookie(alias=SESSION_COOKIE)]


@router.get("/")
async def landing(services: Serving, keeper: Keeper, session: Session = None) -> HTMLResponse:
    access = await keeper.by_session(session) if session else None
    host = urlsplit(services.api_url).hostname
    uis = sorted(services.ui_origins, key=lambda ui: urlsplit(ui).hostname != host)
    ui_url = next(iter(uis), None)
    return pages.landing(ui_url=ui_url, signed_in_as=access.name if access else None)


@router.get("/docs")
async def reference(request: Request) -> HTMLResponse:
    return pages.reference(request.app.openapi())


@router.get("/login")
async def form(request: Request, services: Serving) -> Response:
    """A cookie belongs to one host name: the one under which the UI asks the codec."""
    here, ours = request.url.hostname, urlsplit(services.api_url).hostname
    if here != ours and {here, ours} <= _LOOPBACK:
        return RedirectResponse(f"{services.api_url.rstrip('/')}/login")
    return pages.login()


@router.post("/login")
async def login(
    services: Serving, keeper: Keeper, key: Annotated[str, Form(max_length=500)] = ""
) -> Response:
    """The cookie holds the key's id, never the key; a revoked key ends its sessions."""
    access = await keeper.by_token(key.strip()) if key.strip() else None
    if access is None:
        wrong = "This API key is not known, or it was revoked."
        return pages.login(wrong=wrong, status=status.HTTP_401_UNAUTHORIZED)
    if not opens_payloads(access):
        wrong = "This API key has no scope ops, or is bound to channels or nodes."
        return pages.login(wrong=wrong, status=status.HTTP_403_FORBIDDEN)
    answer = RedirectResponse("/", status.HTTP_303_SEE_OTHER)
    answer.set_cookie(
        SESSION_COOKIE,
        keeper.session(access),
        max_age=SESSION_SECONDS,
        httponly=True,
        samesite="lax",
        secure=services.api_url.startswith("https:"),
    )
    return answer


@router.post("/logout")
async def logout() -> Response:
    answer = RedirectResponse("/", status.HTTP_303_SEE_OTHER)
    answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="lax")
    return answer
