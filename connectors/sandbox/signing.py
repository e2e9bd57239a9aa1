"""Signs and verifies as the partners do: Standard Webhooks, Shopify's HMAC, OAuth 1.0a."""

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

TOLERANCE_SECONDS = 300
_OAUTH_PARAMETER = re.compile(r'(\w+)="([^"]*)"')


def webhook_headers(secret: str, message_id: str, seconds: int, body: bytes) -> dict[str, str]:
    """The three Standard Webhooks headers of one attempt."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(seconds),
        "webhook-signature": "v1," + _webhook_mac(secret, message_id, str(seconds), body),
    }


def webhook_fault(secret: str, headers: Mapping[str, str], body: bytes, *, now: int) -> str:
    """Why a signed request cannot be believed; empty where it can."""
    message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not message_id or not stamp.isascii() or not stamp.isdigit():
        return "webhook-id and webhook-timestamp are required"
    if abs(now - int(stamp)) > TOLERANCE_SECONDS:
        return "webhook-timestamp is more than 5 minutes off"
    expected = "v1," + _webhook_mac(secret, message_id, stamp, body)
    given = headers.get("webhook-signature", "").split()
    if not any(hmac.compare_digest(expected.encode(), one.encode()) for one in given):
        return "webhook-signature does not match"
    return ""


def shopify_hmac(secret: str, body: bytes) -> str:
    """X-Shopify-Hmac-Sha256 of a body."""
    return base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()


@dataclass(frozen=True)
class Call:
    """What is signed of an HTTP call: `url` without its query, `query` decoded."""

    method: str
    url: str
    query: tuple[tuple[str, str], ...] = ()


class OAuthSecrets:
    """What a Magento integration shares with its caller."""

    def __init__(self, consumer_key: str, consumer: str, token_key: str, token: str) -> None:
        self.consumer_key, self.token_key = consumer_key, token_key
        self.signing_key = f"{_escape(consumer)}&{_escape(token)}"


def oauth_parameters(authorization: str) -> dict[str, str]:
    """The parameters of an `OAuth ...` header, decoded; empty where it is not one."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() != "oauth":
        return {}
    return {name: unquote(value) for name, value in _OAUTH_PARAMETER.findall(rest)}


def oauth_fault(secrets: OAuthSecrets, call: Call, given: Mapping[str, str], *, now: int) -> str:
    """Why an OAuth 1.0a request cannot be believed (RFC 5849, HMAC-SHA256); empty where it can."""
    if given.get("oauth_signature_method") != "HMAC-SHA256":
        return "oauth_signature_method must be HMAC-SHA256"
    keys = (given.get("oauth_consumer_key"), given.get("oauth_token"))
    if keys != (secrets.consumer_key, secrets.token_key):
        return "unknown consumer or token"
    stamp = given.get("oauth_timestamp", "")
    if not stamp.isdigit() or abs(now - int(stamp)) > TOLERANCE_SECONDS:
        return "oauth_timestamp is missing or too far off"
    signed = [(k, v) for k, v in given.items() if k not in {"oauth_signature", "realm"}]
    expected = oauth_signature(secrets.signing_key, call, signed)
    if not hmac.compare_digest(expected, given.get("oauth_signature", "")):
        return "the signature is invalid"
    return ""


def oauth_signature(signing_key: str, call: Call, oauth: Iterable[tuple[str, str]]) -> str:
    """The signature over the base string of a call and its oauth_ parameters."""
    pairs = sorted((_escape(name), _escape(value)) for name, value in (*call.query, *oauth))
    normal = "&".join(f"{name}={value}" for name, value in pairs)
    base = "&".join((call.method.upper(), _escape(call.url), _escape(normal)))
    mac = hmac.new(signing_key.encode(), base.encode(), hashlib.sha256)
    return base64.b64encode(mac.digest()).decode()


def _webhook_mac(secret: str, message_id: str, stamp: str, body: bytes) -> str:
    signed = f"{message_id}.{stamp}.".encode() + body
    return base64.b64encode(hmac.digest(secret.encode(), signed, "sha256")).decode()


def _escape(text: str) -> str:
    return quote(text, safe="-._~")
