"""One way to call partners: bounded in time and size, typed failures, no retries (callers do)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

import httpx
from pydantic import Field

from domain.errors import NotFound, Outage, Refused
from domain.values import Value

TIMEOUT: Final = httpx.Timeout(20.0, connect=5.0, pool=5.0)
TOTAL_SECONDS: Final = 30.0
LARGEST_ANSWER: Final = 8 * 1024 * 1024
_LONGEST_MESSAGE: Final = 200
_LONGEST_WAIT: Final = 3600.0
_COME_BACK: Final = frozenset({408, 425, 429})
_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class TooLarge(Outage):
    """The partner answered more than we take in."""


class Answer(Value):
    """What a partner answered, whole. Header names are lower case."""

    status: int
    headers: Mapping[str, str] = Field(default_factory=dict)
    body: bytes = b""

    def parsed(self, system: str) -> Any:
        """The body as JSON, fractions as Decimal. Raises Outage where it is none."""
        try:
            return json.loads(self.body, parse_float=Decimal)
        except (ValueError, RecursionError) as error:
            raise Outage(system, "answered something that is not JSON") from error

    def message(self) -> str:
        """What the partner has to say for itself, one bounded line."""
        try:
            said = json.loads(self.body)
        except (ValueError, RecursionError):
            said = self.body[:1000].decode(errors="replace")
        if isinstance(said, dict):
            names = ("reason", "message", "detail", "error", "errors", "title")
            said = next((said[name] for name in names if said.get(name)), "")
        return line(said if isinstance(said, str) else json.dumps(said, default=str))

    @property
    def retry_after(self) -> float | None:
        return _seconds(self.headers.get("retry-after"))


async def exchange(  # noqa: PLR0913  # a request has this many parts
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    system: str,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> Answer:
    """Any answer, whatever its status. Raises Outage where there is none, or it has no end."""
    try:
        async with (
            asyncio.timeout(TOTAL_SECONDS),
            client.stream(
                method,
                url,
                headers=dict(headers or {}),
                content=content,
                timeout=TIMEOUT,
                follow_redirects=False,
            ) as response,
        ):
            body = await _read(response, system)
    except _NEVER_SENT as error:
        raise Outage(system, "cannot be reached", maybe_received=False) from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        message = "has an address that cannot be called"
        raise Outage(system, message, maybe_received=False) from error
    except (httpx.HTTPError, httpx.StreamError, TimeoutError) as error:
        raise Outage(system, f"did not answer ({type(error).__name__})") from error
    names = {name.lower(): value for name, value in response.headers.items()}
    return Answer(status=response.status_code, headers=names, body=body)


async def call(  # noqa: PLR0913
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    system: str,
    headers: Mapping[str, str] | None = None,
    content: bytes | None = None,
) -> Answer:
    """
    A 2xx answer.

    Raises Outage where trying again may help (no answer, 408, 425, 429, 5xx, a redirect), NotFound
    for 404, else Refused with what the partner said.
    """
    answer = await exchange(client, method, url, system=system, headers=headers, content=content)
    if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        raise failure(system, answer)
    return answer


def failure(system: str, answer: Answer, message: str | None = None) -> Refused | Outage:
    """The error that an answer other than 2xx means. `message` in place of the partner's own."""
    said = f"said {answer.status}: {message or answer.message() or 'nothing more'}"
    if not answer.status < HTTPStatus.INTERNAL_SERVER_ERROR or answer.status in _COME_BACK:
        return Outage(system, said, retry_after=answer.retry_after)
    if answer.status < HTTPStatus.BAD_REQUEST:
        return Outage(system, f"answered {answer.status}; redirects are not followed")
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return Refused(f"{system} {said}", code="partner_unauthorized")
    if answer.status == HTTPStatus.NOT_FOUND:
        return NotFound(f"{system} {said}")
    return Refused(f"{system} {said}", code="partner_refused")


def line(text: str) -> str:
    """Foreign text as one line that may be shown: bounded, no control characters."""
    words = "".join(char if char.isprintable() else " " for char in text[:1000]).split()
    return " ".join(words)[:_LONGEST_MESSAGE]


async def _read(response: httpx.Response, system: str) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.aiter_bytes():
        size += len(part)
        if size > LARGEST_ANSWER:
            raise TooLarge(system, f"answered more than {LARGEST_ANSWER} bytes")
        parts.append(part)
    return b"".join(parts)


def _seconds(retry_after: str | None) -> float | None:
    """Seconds or an HTTP date, never more than an hour."""
    if not retry_after:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after[:9]), _LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(max((until - datetime.now(UTC)).total_seconds(), 0.0), _LONGEST_WAIT)
