"""A session opens sealed payloads for operators on the UI's pages, and for nobody else."""

import base64
import json
from typing import Any

import httpx
import pytest
from google.protobuf import json_format
from temporalio.api.common.v1 import Payload, Payloads

from api.security import SESSION_COOKIE
from storage import access, database
from tests.api.conftest import UI, Api, MakeKey
from workflows.codec import ENCODING, EncryptionCodec


async def sealed(api: Api) -> bytes:
    plain = Payload(metadata={"encoding": b"json/plain"}, data=b'{"name":"Ada"}')
    payloads = await EncryptionCodec(api.services.keyring).encode([plain])
    return json_format.MessageToJson(Payloads(payloads=payloads)).encode()


def opened(answer: httpx.Response) -> list[Any]:
    payloads = json_format.Parse(answer.content, Payloads()).payloads
    return [json.loads(payload.data) for payload in payloads]


def as_json(data: bytes, kid: bytes) -> bytes:
    payload = Payload(metadata={"encoding": ENCODING, "key-id": kid}, data=data)
    return json_format.MessageToJson(Payloads(payloads=[payload])).encode()


def _a_secret(api: Api) -> bytes:
    """A partner's secret as the database keeps it: sealed, but no payload."""
    return base64.b64decode(api.services.keyring.seal("\xff secret").partition(":")[2])


async def login(http: httpx.AsyncClient, headers: dict[str, str]) -> httpx.Response:
    return await http.post("/login", data={"key": headers["Authorization"].split()[1]})


async def test_signing_in_opens_payloads_from_the_ui_and_signing_out_ends_it(
    http: httpx.AsyncClient, api: Api, key: MakeKey
) -> None:
    body = await sealed(api)
    ask = {"Origin": UI, "Content-Type": "application/json", "X-Namespace": "crossdock"}
    assert (await http.post("/codec/decode", content=body, headers=ask)).status_code == 401
    answer = await login(http, await key("ops"))
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "max-age=43200" in cookie
    decoded = await http.post("/codec/decode", content=body, headers=ask)
    assert opened(decoded) == [{"name": "Ada"}]
    assert decoded.headers["access-control-allow-origin"] == UI
    assert decoded.headers["access-control-allow-credentials"] == "true"
    encoded = await http.post("/codec/encode", content=decoded.content, headers=ask)
    again = await http.post("/codec/decode", content=encoded.content, headers=ask)
    assert encoded.content != decoded.content
    assert opened(again) == [{"name": "Ada"}]
    assert "test key" in (await http.get("/")).text
    await http.post("/logout")
    assert (await http.post("/codec/decode", content=body, headers=ask)).status_code == 401


async def test_a_bearer_key_with_ops_opens_and_one_without_does_not(
    http: httpx.AsyncClient, api: Api, key: MakeKey
) -> None:
    body = await sealed(api)
    good = await http.post("/codec/decode", content=body, headers=await key("ops"))
    assert opened(good) == [{"name": "Ada"}]
    none = await http.post("/codec/decode", content=body, headers=await key("orders:read"))
    assert none.status_code == 401
    for content in (b"[1", as_json(b"x" * 50, b"\xff"), as_json(_a_secret(api), b"k1")):
        nonsense = await http.post("/codec/decode", content=content, headers=await key("ops"))
        assert nonsense.status_code == 422


@pytest.mark.parametrize("bound", [{"channels": ["webshop"]}, {"nodes": ["DC-DAL"]}])
async def test_a_key_that_is_bound_opens_nothing_because_a_payload_is_anyones(
    http: httpx.AsyncClient, api: Api, key: MakeKey, bound: dict[str, list[str]]
) -> None:
    headers = await key("ops", **bound)
    answer = await http.post("/codec/decode", content=await sealed(api), headers=headers)
    assert answer.status_code == 401
    assert (await login(http, headers)).status_code == 403


async def test_other_pages_are_refused_and_other_paths_have_no_cors(
    http: httpx.AsyncClient, api: Api, key: MakeKey
) -> None:
    body, headers = await sealed(api), await key("ops")
    foreign = {**headers, "Origin": "http://evil.example"}
    answer = await http.post("/codec/decode", content=body, headers=foreign)
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    preflight = {
        "Origin": UI,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-namespace,authorization",
    }
    allowed = await http.options("/codec/decode", headers=preflight)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == UI
    elsewhere = await http.options("/v1/orders", headers=preflight)
    assert "access-control-allow-origin" not in elsewhere.headers


async def test_a_key_without_ops_a_forged_cookie_and_a_revoked_key_open_nothing(
    http: httpx.AsyncClient, api: Api, key: MakeKey
) -> None:
    body = await sealed(api)
    refused = await login(http, await key("orders:read"))
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers
    wrong = await http.post("/login", data={"key": "cd_no_<script>"})
    assert (wrong.status_code, "<script>" in wrong.text) == (401, False)
    forged = {"Cookie": f"{SESSION_COOKIE}=ImFkbWluIg.aaaa.bbbb"}
    assert (await http.post("/codec/decode", content=body, headers=forged)).status_code == 401
    async with database.transaction(api.services.engine) as conn:
        token = await access.create(conn, "leaver", ["ops"], None, None)
    await login(http, {"Authorization": f"Bearer {token}"})
    async with database.transaction(api.services.engine) as conn:
        await access.revoke(conn, token.split("_")[1])
    assert (await http.post("/codec/decode", content=body)).status_code == 401


async def test_the_pages_load_nothing_from_elsewhere(http: httpx.AsyncClient) -> None:
    for path in ("/", "/login", "/docs"):
        page = await http.get(path)
        assert page.status_code == 200
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "src=" not in page.text
