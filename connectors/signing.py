"""
How partners prove who they are: Standard Webhooks (nodes) and Shopify's HMAC.

Both are checked over the raw bytes, before anything is parsed, and compared in constant time.
`headers` is any mapping that finds lower-case names (Starlette's and httpx's do).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

TOLERANCE: Final = timedelta(minutes=5)
_LONGEST_TIME: Final = 11  # digits


def sign(secret: str, message_id: str, at: datetime, raw: bytes) -> dict[str, str]:
    """The three Standard Webhooks headers of a message. `message_id` is the same on every retry."""
    seconds = str(int(at.timestamp()))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": seconds,
        "webhook-signature": "v1," + _standard(secret, message_id, seconds, raw),
    }


def verify(
    secrets: Sequence[str],
    headers: Mapping[str, str],
    raw: bytes,
    *,
    now: datetime,
    tolerance: timedelta = TOLERANCE,
) -> bool:
    """Whether one of the secrets signed this message, and not longer ago than the tolerance."""
    message_id = headers.get("webhook-id", "")
    seconds = headers.get("webhook-timestamp", "")
    if not message_id or not _is_fresh(seconds, now, tolerance):
        return False
    expected = [_standard(secret, message_id, seconds, raw) for secret in secrets if secret]
    given = (part.split(",", 1) for part in headers.get("webhook-signature", "").split()[:16])
    return _any_match(expected, [part[1] for part in given if len(part) > 1 and part[0] == "v1"])


def shopify_signature(secret: str, raw: bytes) -> str:
    """The value of X-Shopify-Hmac-Sha256."""
    return base64.b64encode(hmac.digest(secret.encode(), raw, hashlib.sha256)).decode()


def verify_shopify(secrets: Sequence[str], signature: str | None, raw: bytes) -> bool:
    """
    Whether one of the shop's secrets signed this body. An empty body is never genuine.

    Several secrets are live for an hour after a rotation.
    """
    if not signature or not raw:
        return False
    return _any_match([shopify_signature(secret, raw) for secret in secrets if secret], [signature])


def _standard(secret: str, message_id: str, seconds: str, raw: bytes) -> str:
    content = f"{message_id}.{seconds}.".encode() + raw
    return base64.b64encode(hmac.digest(secret.encode(), content, hashlib.sha256)).decode()


def _is_fresh(seconds: str, now: datetime, tolerance: timedelta) -> bool:
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= _LONGEST_TIME):
        return False
    return abs(now.timestamp() - int(seconds)) <= tolerance.total_seconds()


def _any_match(expected: Sequence[str], given: Sequence[str]) -> bool:
    pairs = [(left.encode(), right.encode()) for left in expected for right in given]
    return any([hmac.compare_digest(left, right) for left, right in pairs])  # noqa: C419  # no early exit
