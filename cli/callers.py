"""Callers of an HTTP address, many at once and at a steady rate, who note how long they wait."""

from __future__ import annotations

import asyncio
import time
from typing import Final, NamedTuple

_LENGTH: Final = b"content-length:"


class Call(NamedTuple):
    """
    Seconds from when the call was due to the end of its answer, and the answer as it came.

    Taken apart on the way, thousands of answers make the caller's collector of garbage stop it for
    a tenth of a second, and all who wait with it.
    """

    seconds: float
    body: bytes


async def call_steadily(  # noqa: PLR0913 - a load, by name
    port: int, paths: list[str], key: str, *, callers: int, rate: float, seconds: float
) -> list[Call]:
    """
    All calls of `callers` connections that share `rate` calls a second, path by path in turn.

    A call that starts late because the one before took long counts from when it was due.
    """
    start = time.perf_counter() + 0.2

    async def caller(number: int) -> list[Call]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        made = []
        for turn in range(int(rate * seconds / callers)):
            due = start + (turn * callers + number) / rate
            await asyncio.sleep(max(due - time.perf_counter(), 0))
            path = paths[(turn * callers + number) % len(paths)]
            writer.write(_request(path, key))
            body = await _answer(reader)
            made.append(Call(time.perf_counter() - due, body))
        writer.close()
        await writer.wait_closed()
        return made

    answers = await asyncio.gather(*(caller(number) for number in range(callers)))
    return [call for made in answers for call in made]


def _request(path: str, key: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\r\n".encode()


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = head.partition(_LENGTH)[2].partition(b"\r\n")[0]
    body = await reader.readexactly(int(length))
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(f"{head.splitlines()[0]!r}: {body[:200]!r}")
    return body
