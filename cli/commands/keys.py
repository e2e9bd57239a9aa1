"""API keys: make one, list them, revoke one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.printing import console, table
from cli.target import run
from domain.errors import Invalid, NotFound

if TYPE_CHECKING:
    from storage.access import KeyListing

SCOPES: Final = (
    "admin",
    "events:write",
    "nodes:read",
    "nodes:write",
    "ops",
    "orders:read",
    "orders:write",
    "pickup:write",
    "sourcing",
    "rules:activate",
    "rules:read",
    "rules:write",
    "stock:read",
    "stock:write",
)

keys = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(keys, name="key", rich_help_panel="Operations")


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is.")],
    scope: Annotated[list[str], typer.Option("--scope", "-s", help="What it may do; several.")],
    channel: Annotated[
        list[str] | None, typer.Option(help="Only orders of this channel; several.")
    ] = None,
    node: Annotated[
        list[str] | None, typer.Option(help="Only what is this node's; several.")
    ] = None,
) -> None:
    """Make a key and print it, the only time that it can be read."""
    typer.echo(run(_create(name, scope, channel, node)))


@keys.command(name="list")
def show() -> None:
    """List the keys."""
    listed = table("id", "name", "scopes", "channels", "nodes", "created", "revoked")
    for key in run(_list()):
        listed.add_row(
            key.key_id,
            key.name,
            " ".join(key.scopes),
            "all" if key.channels is None else " ".join(key.channels),
            "all" if key.nodes is None else " ".join(key.nodes),
            f"{key.created_at:%Y-%m-%d %H:%M}",
            f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "",
        )
    console().print(listed)


@keys.command()
def revoke(key_id: Annotated[str, typer.Argument(help="As `key list` shows it.")]) -> None:
    """Revoke a key; within ten seconds nobody gets in with it."""
    if not run(_revoke(key_id)):
        raise NotFound(f"no key {key_id} that is not revoked already")
    typer.echo(f"{key_id} is revoked")


async def _create(
    name: str, scopes: list[str], channels: list[str] | None, nodes: list[str] | None
) -> str:
    from cli.wiring import conversation
    from storage import access, network

    if unknown := sorted(set(scopes) - set(SCOPES)):
        raise Invalid(f"scope {unknown[0]!r} is not known; there are {', '.join(SCOPES)}")
    async with conversation() as conn:
        known = {channel.code for channel in await network.channels(conn)}
        if strange := sorted(set(channels or ()) - known):
            raise NotFound(f"no channel {strange[0]}")
        places = {place.code for place in await network.nodes(conn)}
        if strange := sorted(set(nodes or ()) - places):
            raise NotFound(f"no node {strange[0]}")
        return await access.create(conn, name, scopes, channels, nodes)


async def _list() -> tuple[KeyListing, ...]:
    from cli.wiring import conversation
    from storage import access

    async with conversation(start=("postgres",), read_only=True) as conn:
        return await access.list_keys(conn)


async def _revoke(key_id: str) -> bool:
    from cli.wiring import conversation
    from storage import access

    async with conversation() as conn:
        return await access.revoke(conn, key_id)
