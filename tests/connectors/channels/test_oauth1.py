from datetime import UTC, datetime

import pytest

from connectors.channels.oauth1 import Credentials, authorization, query

KEYS = Credentials(
    consumer_key="dpf43f3p2l4k3l03",
    consumer_secret="kd94hf93k423kf44",
    access_token="nnch734d00sl2jdk",
    access_token_secret="pfkkdhi9sl3r7s00",
)
AT = datetime.fromtimestamp(1191242096, UTC)


def signed(url: str, method: str = "GET", keys: Credentials = KEYS) -> str:
    header = authorization(method, url, keys, nonce="kllo9940pd9333jh", at=AT)
    assert header.startswith("OAuth ")
    return dict(part.split("=", 1) for part in header[6:].split(", "))["oauth_signature"]


def test_the_header_carries_every_part() -> None:
    header = authorization("GET", "http://shop.test/x", KEYS, nonce="n", at=AT)

    assert 'oauth_consumer_key="dpf43f3p2l4k3l03"' in header
    assert 'oauth_signature_method="HMAC-SHA256"' in header
    assert 'oauth_timestamp="1191242096"' in header
    assert KEYS.consumer_secret not in header + repr(KEYS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://shop.test/x", "http://shop.test:80/x"),
        ("https://shop.test/x", "https://SHOP.test:443/x"),
        ("http://shop.test/x?b=2&a=1", "http://shop.test/x?a=1&b=2"),
        ("http://shop.test/x?a%5B0%5D=1%202", "http://shop.test/x?a[0]=1+2"),
    ],
)
def test_the_same_request_has_one_signature(one: str, other: str) -> None:
    assert signed(one) == signed(other)


@pytest.mark.parametrize(
    "other", ["http://shop.test:8080/x", "http://shop.test/y", "http://shop.test/x?a=1"]
)
def test_another_request_has_another_signature(other: str) -> None:
    assert signed("http://shop.test/x") != signed(other)
    assert signed("http://shop.test/x") != signed("http://shop.test/x", "POST")


def test_a_query_is_encoded_as_it_is_signed() -> None:
    assert query([("a[0]", "1 2"), ("b", "ü&=+")]) == "a%5B0%5D=1%202&b=%C3%BC%26%3D%2B"
