"""Orders that cool down: how many wait to be sourced together, and to have them go now."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cli.printing import console, table
from cli.target import run

if TYPE_CHECKING:
    from storage.cooling import Waiting

batches = typer.Typer(no_args_is_help=True, help="See and start batches of orders that cool down.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(batches, name="batches", rich_help_panel="Operations")


@batches.command(name="list")
def show(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List what waits to be sourced together, by profile."""
    found = run(_waiting())
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found]))
        return
    listed = table("profile", "orders", "since", "due")
    for one in found:
        times = (f"{at:%Y-%m-%d %H:%M:%S}" for at in (one.since, one.due_at))
        listed.add_row(one.profile, str(one.orders), *times)
    console().print(listed)


@batches.command()
def now(
    profile: Annotated[str, typer.Argument(help="As `list` names it; empty is all.")] = "",
) -> None:
    """Have what waits be due now; a worker sources it together within seconds."""
    orders = run(_hasten(profile))
    typer.echo(f"{orders} orders are due")


async def _waiting() -> tuple[Waiting, ...]:
    from cli.wiring import conversation
    from storage import cooling

    async with conversation(start=("postgres",), read_only=True) as conn:
        return await cooling.waiting(conn)


async def _hasten(profile: str) -> int:
    from cli.wiring import conversation
    from storage import cooling

    async with conversation() as conn:
        return await cooling.hasten(conn, profile or None)
