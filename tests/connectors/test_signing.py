import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import signing

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRET = "a-secret-of-24-characters"
BODY = b'{"event_id": "evt-1"}'


def test_a_signature_is_what_standard_webhooks_says() -> None:
    headers = signing.sign(SECRET, "evt-1", NOW, BODY)

    content = b"evt-1." + str(int(NOW.timestamp())).encode() + b"." + BODY
    digest = hmac.new(SECRET.encode(), content, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


def test_a_message_verifies_with_any_live_secret_and_any_given_signature() -> None:
    headers = signing.sign(SECRET, "evt-1", NOW, BODY)
    headers["webhook-signature"] = "v2,xyz v1,AAAA " + headers["webhook-signature"]

    assert signing.verify(["a-newer-secret-of-24-chars", SECRET], headers, BODY, now=NOW)


@pytest.mark.parametrize("change", ["body", "id", "timestamp", "signature", "secret"])
def test_one_thing_changed_and_nothing_verifies(change: str) -> None:
    headers = signing.sign(SECRET, "evt-1", NOW, BODY)
    raw, secrets = BODY, [SECRET]
    if change == "body":
        raw = BODY + b" "
    elif change == "secret":
        secrets = [SECRET + "!", ""]
    elif change == "timestamp":
        headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) + 1)
    else:
        headers[f"webhook-{change}"] += "x"

    assert not signing.verify(secrets, headers, raw, now=NOW)


@pytest.mark.parametrize(("age", "fresh"), [(300, True), (-300, True), (301, False), (-301, False)])
def test_a_message_is_believed_for_five_minutes(age: int, fresh: bool) -> None:  # noqa: FBT001
    headers = signing.sign(SECRET, "evt-1", NOW - timedelta(seconds=age), BODY)

    assert signing.verify([SECRET], headers, BODY, now=NOW) is fresh


@given(st.dictionaries(st.sampled_from(["id", "timestamp", "signature"]), st.text()))
def test_strange_headers_are_refused_quietly(values: dict[str, str]) -> None:
    headers = {f"webhook-{name}": value for name, value in values.items()}

    assert not signing.verify([SECRET], headers, BODY, now=NOW)


def test_shopify_signs_with_the_new_or_the_old_secret() -> None:
    signature = signing.shopify_signature("old", BODY)

    assert signing.verify_shopify(["new", "old"], signature, BODY)
    assert not signing.verify_shopify(["new"], signature, BODY)
    assert not signing.verify_shopify(["new", "old"], signature, BODY[:-1] + b"]")
    assert not signing.verify_shopify(["new", "old"], "ü" + signature, BODY)
    assert not signing.verify_shopify(["old"], None, BODY)


def test_an_empty_body_is_never_genuine() -> None:
    assert not signing.verify_shopify(["s"], signing.shopify_signature("s", b""), b"")
