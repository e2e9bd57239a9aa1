"""Errors as RFC 9457 problems. The tables here are the whole error contract of the API."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from domain.errors import Busy, Conflict, Invalid, NotFound, Outage, Refused
from domain.values import Value

MEDIA_TYPE: Final = "application/problem+json"
_MOST_ERRORS: Final = 50
_RETRY_SECONDS: Final = 5
_LOG: Final = logging.getLogger("crossdock.api")


class Unauthorized(Refused):
    """Nobody we know: no key, a wrong key, a revoked one, or a signature that does not match."""

    code = "unauthorized"


class Forbidden(Refused):
    """The key is good, but not for this."""

    code = "forbidden"


class Unfit(Refused):
    """Some fields are not as they must be, or cannot be had. Each says which, and the cure."""

    code = "invalid"

    def __init__(self, errors: Mapping[str, str], *, code: str | None = None) -> None:
        told = "; ".join(f"{field}: {message}" for field, message in list(errors.items())[:3])
        super().__init__(told, code=code)
        self.errors = tuple(FieldError(field=f, message=m) for f, m in errors.items())


STATUS: Final[dict[type[Refused], int]] = {
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    Invalid: 422,
    Refused: 422,
}

# What HTTP itself may say no to, by status.
CODES: Final[dict[int, str]] = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
}


NO_JSON: Final = "the body is not JSON that can be read"
_UNREADABLE: Final = "There was an error parsing the body"  # FastAPI's, of text that is not UTF-8


class FieldError(Value):
    """`field` is the path to the value, such as `lines.0.quantity`; empty where it is the whole."""

    field: str
    message: str


class ProblemDetails(Value):
    """An error, RFC 9457. `code` is stable: branch on it, never on the texts."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: tuple[FieldError, ...] = ()


def answer(
    status: int,
    code: str,
    detail: str,
    *,
    errors: Iterable[FieldError] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem as a response."""
    title = HTTPStatus(status).phrase
    problem = ProblemDetails(
        type=f"/problems/{quote(code)}",
        title=title,
        status=status,
        detail=detail,
        code=code,
        errors=tuple(errors),
    )
    body = problem.model_dump(mode="json", exclude=set() if problem.errors else {"errors"})
    return JSONResponse(body, status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route or router that may end in these problems."""
    return {
        status: {"model": ProblemDetails, "description": HTTPStatus(status).phrase}
        for status in statuses
    }


def install(app: FastAPI) -> None:
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(Outage, _outage)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _bug)


async def _refused(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, Refused):
        raise error
    status = next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
    errors = error.errors[:_MOST_ERRORS] if isinstance(error, Unfit) else ()
    return answer(status, error.code, str(error), errors=errors, headers=headers)


async def _outage(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, Outage):
        raise error
    _LOG.warning("outage: %s", error)
    seconds = math.ceil(error.retry_after or _RETRY_SECONDS)
    state = "busy" if isinstance(error, Busy) else "unavailable"
    detail = f"{error.system} is {state}; try again in {seconds} s"
    headers = {"Retry-After": str(seconds)}
    return answer(HTTPStatus.SERVICE_UNAVAILABLE, "outage", detail, headers=headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    if _sent_no_json(request, error):
        message = "send the body as JSON, with Content-Type: application/json"
        return answer(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, CODES[415], message)
    found = [_field_error(item) for item in _true(error.errors())[:_MOST_ERRORS]]
    detail = "; ".join(f"{e.field}: {e.message}" if e.field else e.message for e in found[:3])
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, CODES[422], detail, errors=found)


def _sent_no_json(request: Request, error: RequestValidationError) -> bool:
    body_unread = any(tuple(item["loc"]) == ("body",) for item in error.errors())
    content_type = request.headers.get("content-type", "")
    return body_unread and isinstance(error.body, bytes) and "json" not in content_type


def _true(items: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Without lists that are "too short" only because a part of them was wrong and left out."""
    wrong = [tuple(item["loc"]) for item in items]
    return [
        item
        for item, loc in zip(items, wrong, strict=True)
        if item["type"] != "too_short"
        or not any(len(other) > len(loc) and other[: len(loc)] == loc for other in wrong)
    ]


def _field_error(item: Mapping[str, Any]) -> FieldError:
    """A rule over several fields says which one by starting with its name: `field: message`."""
    path = [str(part) for part in item["loc"] if part not in ("body", "query", "path", "header")]
    message = str(item["msg"]).removeprefix("Value error, ")
    if item["type"] == "missing" and not path:
        return FieldError(field="", message="there is no body; send one as JSON")
    if item["type"] == "json_invalid":
        return FieldError(field="", message=NO_JSON)
    if item["type"] == "value_error":
        name, colon, rest = message.partition(": ")
        if colon and name.replace("_", "").replace(".", "").isalnum():
            return FieldError(field=".".join([*path, name]), message=rest)
    return FieldError(field=".".join(path), message=message)


async def _http(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    if error.detail == _UNREADABLE:
        return answer(HTTPStatus.UNPROCESSABLE_ENTITY, CODES[422], NO_JSON)
    code = CODES.get(error.status_code, "http_error")
    return answer(error.status_code, code, str(error.detail), headers=error.headers)


async def _bug(_: Request, error: Exception) -> JSONResponse:
    _LOG.error("a request ended in a bug", exc_info=error)
    message = "something went wrong on our side; it was written down"
    return answer(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", message)
