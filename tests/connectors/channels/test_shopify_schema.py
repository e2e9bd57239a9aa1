"""
The real schema, where someone has it: the introspection JSON, gzipped, of the version we speak.

It is part of Shopify's own package `@shopify/dev-mcp`. CROSSDOCK_SHOPIFY_SCHEMA says where it is.
"""

import gzip
import json
import os
from pathlib import Path

import pytest
from graphql import build_client_schema, build_schema, parse, validate

import connectors.sandbox
from connectors.channels import shopify_graphql

REAL = os.environ.get("CROSSDOCK_SHOPIFY_SCHEMA", "")


@pytest.mark.parametrize("document", shopify_graphql.DOCUMENTS)
def test_every_document_is_valid_at_the_sandbox(document: str) -> None:
    sdl = Path(connectors.sandbox.__file__).with_name("shopify.graphql").read_text()

    assert validate(build_schema(sdl), parse(document)) == []


@pytest.mark.skipif(not REAL, reason="CROSSDOCK_SHOPIFY_SCHEMA names no schema")
def test_every_document_is_valid_at_shopify() -> None:
    found = json.loads(gzip.decompress(Path(REAL).read_bytes()))
    schema = build_client_schema(found.get("data", found), assume_valid=True)

    for document in shopify_graphql.DOCUMENTS:
        assert validate(schema, parse(document)) == []
