"""OAuth 1.0a with HMAC-SHA256 (RFC 5849), as Magento asks it of its integrations."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl, quote, urlsplit

from pydantic import Field

from domain.values import Value

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Credentials(Value):
    consumer_key: str
    consumer_secret: str = Field(repr=False)
    access_token: str
    access_token_secret: str = Field(repr=False)


def authorization(
    method: str, url: str, credentials: Credentials, *, nonce: str, at: datetime
) -> str:
    """The Authorization header of a request whose body is not a form. `url` has its query."""
    oauth = {
        "oauth_consumer_key": credentials.consumer_key,
        "oauth_nonce": nonce,
        "oauth_signature_method": "HMAC-SHA256",
        "oauth_timestamp": str(int(at.timestamp())),
        "oauth_token": credentials.access_token,
        "oauth_version": "1.0",
    }
    query = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    base = "&".join(
        _encoded(part) for part in (method.upper(), _base_url(url), _normal(query, oauth))
    )
    secrets = (credentials.consumer_secret, credentials.access_token_secret)
    key = "&".join(_encoded(secret) for secret in secrets)
    digest = hmac.digest(key.encode(), base.encode(), hashlib.sha256)
    signed = {**oauth, "oauth_signature": base64.b64encode(digest).decode()}
    return "OAuth " + ", ".join(f'{name}="{_encoded(value)}"' for name, value in signed.items())


def query(parameters: Iterable[tuple[str, str]]) -> str:
    """A query string in the encoding that is signed."""
    return "&".join(f"{_encoded(name)}={_encoded(value)}" for name, value in parameters)


def _normal(parameters: Iterable[tuple[str, str]], oauth: dict[str, str]) -> str:
    pairs = sorted((_encoded(n), _encoded(v)) for n, v in [*parameters, *oauth.items()])
    return "&".join(f"{name}={value}" for name, value in pairs)


def _base_url(url: str) -> str:
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    standard = parts.port in (None, _DEFAULT_PORTS.get(parts.scheme))
    return f"{parts.scheme.lower()}://{host}{'' if standard else f':{parts.port}'}{parts.path}"


def _encoded(text: str) -> str:
    return quote(text, safe="")
