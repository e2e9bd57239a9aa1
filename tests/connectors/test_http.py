import asyncio
import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from connectors import http
from domain.errors import NotFound, Outage, Refused


async def call(answer: Callable[[httpx.Request], httpx.Response]) -> http.Answer:
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        return await http.call(client, "POST", "https://partner.test/x", system="partner")


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, Refused, "partner_refused"),
        (401, Refused, "partner_unauthorized"),
        (403, Refused, "partner_unauthorized"),
        (404, NotFound, "not_found"),
        (422, Refused, "partner_refused"),
    ],
)
async def test_a_no_is_a_refusal(status: int, kind: type[Refused], code: str) -> None:
    with pytest.raises(kind, match=r"partner said 4\d\d: no such postcode") as refused:
        await call(lambda _: httpx.Response(status, json={"message": "no such\n postcode"}))

    assert refused.value.code == code


@pytest.mark.parametrize("status", [302, 408, 425, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_an_outage(status: int) -> None:
    with pytest.raises(Outage) as outage:
        await call(lambda _: httpx.Response(status, headers={"Location": "https://else.test"}))

    assert outage.value.maybe_received


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("30", 30), ("999999999999", 3600), ("soon", None), ("", None), ("-1", None)],
)
async def test_an_outage_says_when_to_come_back(header: str, seconds: float | None) -> None:
    with pytest.raises(Outage) as outage:
        await call(lambda _: httpx.Response(503, headers={"Retry-After": header}))

    assert outage.value.retry_after == seconds


async def test_a_date_to_come_back_is_read() -> None:
    past = "Wed, 21 Oct 2015 07:28:00 GMT"
    with pytest.raises(Outage) as outage:
        await call(lambda _: httpx.Response(503, headers={"Retry-After": past}))

    assert outage.value.retry_after == 0


@pytest.mark.parametrize(
    ("error", "maybe_received"),
    [
        (httpx.ConnectError("refused"), False),
        (httpx.ConnectTimeout("slow"), False),
        (httpx.PoolTimeout("busy"), False),
        (httpx.ReadTimeout("slow"), True),
        (httpx.WriteTimeout("slow"), True),
        (httpx.ReadError("reset"), True),
        (httpx.RemoteProtocolError("closed"), True),
    ],
)
async def test_only_what_never_left_is_known_not_to_have_arrived(
    error: httpx.HTTPError,
    maybe_received: bool,  # noqa: FBT001
) -> None:
    def fail(_: httpx.Request) -> httpx.Response:
        raise error

    with pytest.raises(Outage) as outage:
        await call(fail)

    assert outage.value.maybe_received is maybe_received


@pytest.mark.parametrize("url", ["", "/path", "ftp://x.test/", "https://[bad", "https://a:b/"])
async def test_an_address_that_cannot_be_called_is_an_outage(url: str) -> None:
    async with httpx.AsyncClient() as client:
        with pytest.raises(Outage) as outage:
            await http.exchange(client, "GET", url, system="partner")

    assert not outage.value.maybe_received


async def test_an_endless_answer_is_cut_off() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1_000_000

    with pytest.raises(Outage, match="more than"):
        await call(lambda _: httpx.Response(200, content=endless()))


async def test_a_dripping_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def dripping() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)
            yield b"x"

    monkeypatch.setattr(http, "TOTAL_SECONDS", 0.05)
    with pytest.raises(Outage, match="did not answer"):
        await call(lambda _: httpx.Response(200, content=dripping()))


async def test_a_long_complaint_is_cut_to_one_line() -> None:
    with pytest.raises(Refused) as refused:
        await call(lambda _: httpx.Response(400, text="\x1b[31m" + "bad " * 10_000))

    assert len(str(refused.value)) < 250
    assert str(refused.value).isprintable()


async def test_an_answer_that_is_not_json_is_an_outage() -> None:
    answer = await call(lambda _: httpx.Response(200, text="<html>"))

    with pytest.raises(Outage, match="not JSON"):
        answer.parsed("partner")
    deep = http.Answer(status=200, body=b"[" * 200_000)
    with pytest.raises(Outage, match="not JSON"):
        deep.parsed("partner")
    assert deep.message()
    assert http.Answer(status=200, body=json.dumps({"errors": {"a": ["b"]}}).encode()).message()
