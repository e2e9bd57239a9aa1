"""Reads who the sandbox plays, with which secrets, and how fast."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NodeConfig(Frozen):
    """A node's shared secret and, for a store that hands goods over, its Crossdock API key."""

    secret: str
    api_key: str = ""


class ShopifyConfig(Frozen):
    """
    A Shopify-shaped shop. `topics` are the webhooks Crossdock is subscribed to.

    `restore_rate` is in cost points a second; the bucket holds twenty times as many.
    """

    kind: Literal["shopify"]
    webhook_secret: str
    access_token: str
    topics: tuple[str, ...] = ("orders/create", "orders/cancelled")
    restore_rate: int = 1000


class OAuth(Frozen):
    consumer_key: str
    consumer_secret: str
    access_token: str
    access_token_secret: str


class MagentoConfig(Frozen):
    kind: Literal["magento"]
    oauth: OAuth


ShopConfig = Annotated[ShopifyConfig | MagentoConfig, Field(discriminator="kind")]
Span = tuple[int, int]


class Pace(Frozen):
    """How long partners take, as [least, most] milliseconds; the draw is seeded per fulfillment."""

    accept_ms: Span = (50, 300)
    ship_ms: Span = (300, 1500)
    deliver_ms: Span = (300, 1500)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("accept_ms", "ship_ms", "deliver_ms"):
            least, most = getattr(self, name)
            if not 0 <= least <= most:
                raise ValueError(f"{name}: give [least, most] milliseconds")
        return self


class SandboxConfig(Frozen):
    """
    Everything the sandbox is told.

    `retry_ms` bounds the back-off of what partners send; Crossdock's final refusals (404, 409, 422)
    are believed after `give_up_after` attempts.
    """

    database: Path
    crossdock_url: str
    control_token: Annotated[str, Field(min_length=8)]
    nodes: dict[str, NodeConfig] = {}
    shops: dict[str, ShopConfig] = {}
    pace: Pace = Pace()
    seed: int = 0
    retry_ms: Span = (200, 5000)
    give_up_after: int = 8


def load(path: Path) -> SandboxConfig:
    return SandboxConfig.model_validate_json(path.read_bytes())
