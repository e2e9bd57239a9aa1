"""Loads the sample network, and writes down for the sandbox partners who they are."""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncConnection

from activities.scheduling import ensure_schedules
from cli import sample
from cli.sample import SampleNetwork
from cli.settings import Settings
from cli.wiring import engine, temporal
from connectors.sandbox.config import (
    MagentoConfig,
    NodeConfig,
    OAuth,
    SandboxConfig,
    ShopConfig,
    ShopifyConfig,
    load,
)
from storage import access, network, stock
from storage.database import transaction
from workflows.codec import Keyring


async def seed(settings: Settings, file: Path, url: str, number: int) -> SampleNetwork:
    """
    The network of this seed, its partners at `url` with secrets of their own, kept in `file`.

    Again, it only tells of another `url`: what was changed since stays, and so does the stock.
    """
    made = sample.network(number)
    async with engine(settings) as opened:
        async with transaction(opened) as conn:
            config = await _partners(conn, made, settings, file)
            await _tell(conn, made, url, config, settings.keyring())
            channels = await network.channels(conn)
        await asyncio.to_thread(_keep, file, config)
    client = await temporal(settings)
    await ensure_schedules(
        client,
        channels,
        reconcile_seconds=settings.reconcile_seconds,
        poll_seconds=settings.poll_seconds,
        reoptimise_seconds=settings.reoptimise_seconds,
    )
    return made


async def _partners(
    conn: AsyncConnection, made: SampleNetwork, settings: Settings, file: Path
) -> SandboxConfig:
    """Who the partners are; what the file already says stays, but for our own address."""
    known = await asyncio.to_thread(_known, file)
    if known is not None:
        return known.model_copy(update={"crossdock_url": settings.api_url})
    nodes = {node.code: NodeConfig(secret=_secret()) for node in made.nodes}
    for node in made.nodes:
        if node.pickup:
            key = await access.create(
                conn, f"store {node.code}", {"pickup:write"}, nodes={node.code}
            )
            nodes[node.code] = nodes[node.code].model_copy(update={"api_key": key})
    return SandboxConfig(
        database=file.with_name("partners.db").resolve(),
        crossdock_url=settings.api_url,
        control_token=_secret(),
        nodes=nodes,
        shops={
            channel.code: _shop(channel.kind) for channel in made.channels if channel.kind != "api"
        },
    )


async def _tell(
    conn: AsyncConnection, made: SampleNetwork, url: str, config: SandboxConfig, keyring: Keyring
) -> None:
    known = {node.code: node for node in await network.nodes(conn)}
    for node in made.nodes:
        described = known.get(node.code, node)
        await network.put_node(
            conn, described.model_copy(update={"url": f"{url}/nodes/{node.code}"})
        )
        sealed = keyring.seal(config.nodes[node.code].secret)
        await network.put_credential(conn, f"node:{node.code}", "secret", sealed)
    if not known:
        await network.put_products(conn, made.products)
        await network.put_rate_cards(conn, made.rate_cards)
        await _fill(conn, made)
    for channel in made.channels:
        there = f"{url}/shops/{channel.code}" if channel.code in config.shops else ""
        await network.put_channel(conn, channel.model_copy(update={"url": there}))
        for name, secret in _credentials(config.shops.get(channel.code)).items():
            await network.put_credential(
                conn, f"channel:{channel.code}", name, keyring.seal(secret)
            )


async def _fill(conn: AsyncConnection, made: SampleNetwork) -> None:
    for node in made.nodes:
        lines = [
            (sku, units)
            for (sku, code), units in sorted(made.stock.items())
            if code == node.code and units > 0
        ]
        if lines:
            await stock.receive(conn, "sample", node.code, lines, "sample stock", "crossdock seed")


def _shop(kind: str) -> ShopConfig:
    if kind == "shopify":
        return ShopifyConfig(kind="shopify", webhook_secret=_secret(), access_token=_secret())
    return MagentoConfig(
        kind="magento",
        oauth=OAuth(
            consumer_key=_secret(),
            consumer_secret=_secret(),
            access_token=_secret(),
            access_token_secret=_secret(),
        ),
    )


def _credentials(shop: ShopConfig | None) -> dict[str, str]:
    if isinstance(shop, ShopifyConfig):
        hooks = json.dumps([shop.webhook_secret])
        return {"webhook_secret": hooks, "access_token": shop.access_token}
    if isinstance(shop, MagentoConfig):
        return {"oauth": shop.oauth.model_dump_json()}
    return {}


def _secret() -> str:
    return secrets.token_urlsafe(32)


def _known(file: Path) -> SandboxConfig | None:
    return load(file) if file.exists() else None


def _keep(file: Path, config: SandboxConfig) -> None:
    """Readable by the owner alone, and never half written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".new")
    partial.touch(mode=0o600)
    partial.write_text(config.model_dump_json(indent=1))
    partial.replace(file)
