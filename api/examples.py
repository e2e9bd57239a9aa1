"""Requests as clients write them, for the OpenAPI document."""

from __future__ import annotations

from typing import Final

from pydantic import ConfigDict
from pydantic.config import JsonDict

ORDER: Final[JsonDict] = {
    "channel": "webshop",
    "channel_order_id": "1001",
    "placed_at": "2026-11-20T10:00:00Z",
    "currency": "USD",
    "total_minor": 5998,
    "lines": [{"line_id": "1", "sku": "SKU-0001", "quantity": 2, "unit_price_minor": 2999}],
    "ship_to": {
        "name": "Ada Byron",
        "line1": "500 Elm St",
        "city": "Dallas",
        "region": "TX",
        "postal_code": "75202",
        "country": "US",
    },
    "email": "ada@example.com",
}
CART: Final[JsonDict] = {
    "channel": "webshop",
    "lines": [{"sku": "SKU-0001", "quantity": 2}],
    "ship_to": {"postal_code": "75202"},
    "token_seconds": 900,
}
SOURCING: Final[JsonDict] = {
    "order": {
        "lines": [{"line_id": "1", "sku": "MUG", "quantity": 2}],
        "ship_to": {"postal_code": "78701", "country": "US"},
        "as_of": "2026-11-23T15:00:00Z",
        "nodes": [
            {
                "code": "DC-DAL",
                "name": "Dallas",
                "kind": "dc",
                "postal_code": "75201",
                "latitude": 32.79,
                "longitude": -96.8,
                "calendar": {"timezone": "America/Chicago"},
                "order_cost_minor": 150,
            },
            {
                "code": "ST-AUS",
                "name": "Austin",
                "kind": "store",
                "postal_code": "78701",
                "latitude": 30.27,
                "longitude": -97.74,
                "calendar": {"timezone": "America/Chicago"},
                "order_cost_minor": 400,
            },
        ],
        "stock": {"DC-DAL": {"MUG": 40}, "ST-AUS": {"MUG": 1}},
        "rate_cards": [
            {
                "service": "ground",
                "carrier": "ups",
                "zones": [
                    {"max_miles": 150, "base_minor": 700, "per_lb_minor": 30, "transit_days": 1},
                    {"max_miles": 3000, "base_minor": 1100, "per_lb_minor": 90, "transit_days": 5},
                ],
            }
        ],
        "products": [{"sku": "MUG", "weight_g": 400}],
    },
    "explain": ["ST-AUS"],
}
RESERVATION: Final[JsonDict] = {
    "channel": "webshop",
    "key": "cart-7f3a",
    "lines": [{"sku": "SKU-0001", "quantity": 2}],
    "ttl_seconds": 900,
}
RATES: Final[JsonDict] = {
    "rate_cards": [
        {
            "service": "ground",
            "carrier": "ups",
            "currency": "USD",
            "zones": [
                {"max_miles": 300, "base_minor": 750, "per_lb_minor": 40, "transit_days": 2},
                {"max_miles": 3000, "base_minor": 1100, "per_lb_minor": 90, "transit_days": 5},
            ],
        }
    ]
}
NODE: Final[JsonDict] = {
    "name": "Dallas",
    "kind": "dc",
    "postal_code": "75201",
    "latitude": 32.79,
    "longitude": -96.8,
    "calendar": {"timezone": "America/Chicago", "cutoff": "14:00", "holidays": "US"},
    "capacity_per_day": 500,
    "units_per_day": 2000,
    "order_cost_minor": 150,
    "unit_cost_minor": 30,
    "url": "https://wms.example.com/crossdock",
}
PRODUCTS: Final[JsonDict] = {
    "products": [
        {"sku": "SKU-0001", "title": "Mug", "weight_g": 400, "aliases": ["44000000000001"]}
    ]
}
RULES: Final[JsonDict] = {
    "rules": {
        "name": "web-standard",
        "owner": "operations",
        "timezone": "America/Chicago",
        "profiles": [
            {
                "name": "ship",
                "channels": ["webshop"],
                "methods": ["ship"],
                "rules": [
                    {"name": "few", "kind": "max_nodes", "value": 2, "hard": False},
                    {
                        "name": "near",
                        "kind": "exclude",
                        "when": 'node.kind == "store" && node.miles > 300',
                    },
                ],
                "outcomes": {
                    "partial": [{"allocate": True, "then": "backorder", "cancel_after": "P14D"}],
                    "nothing": [{"then": "queue", "queue": "customer-care"}],
                },
            }
        ],
    }
}
CHANNEL: Final[JsonDict] = {
    "kind": "shopify",
    "url": "https://acme.myshopify.com",
    "settings": {"locations": {"Dallas store": "ST-DAL"}, "notify": True},
    "when_short": "backorder",
}
CREDENTIALS: Final[JsonDict] = {
    "webhook_secret": "shpss_0123456789abcdef",
    "access_token": "shpat_0123456789abcdef",
}


def of(body: JsonDict) -> ConfigDict:
    """The configuration of a request model that is shown so."""
    return ConfigDict(json_schema_extra={"examples": [body]})
