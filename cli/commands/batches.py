"""Orders that are sourced together: those that cool down, and those whose work still waits here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cli.printing import console, table
from cli.target import installation, run
from domain.money import Money
from domain.sourcing.words import count

if TYPE_CHECKING:
    from storage.cooling import Waiting
    from workflows.ports import Reoptimised

batches = typer.Typer(no_args_is_help=True, help="See and start batches of orders.")


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
    if profile and not orders:
        typer.echo(f"no order waits in {profile}; `batches list` shows where some do")
        return
    typer.echo(count(orders, "order is due", "orders are due"))


@batches.command()
def reoptimise(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Source anew what is allocated and no node was asked for, where that saves enough."""
    found = run(_reoptimise(dry_run=dry_run))
    if as_json:
        typer.echo(found.model_dump_json())
        return
    listed = table("order", "is sent by", "could be", "saves", "")
    for one in found.orders:
        ways = (", ".join(f"{n} {s}" for n, s in way.items()) for way in (one.before, one.after))
        saves = str(Money(minor=one.saves_minor, currency=one.currency))
        listed.add_row(one.order_id, *ways, saves, "moves" if one.moves else "stays")
    console().print(listed)
    looked = count(found.looked_at, "order", "orders")
    moved = f"{found.moved} would move" if dry_run else count(found.moved, "moves", "move")
    typer.echo(f"{looked} looked at, {moved}")


async def _reoptimise(*, dry_run: bool) -> Reoptimised:
    from cli.wiring import temporal
    from workflows import client

    async with installation() as settings:
        return await client.reoptimise(await temporal(settings), dry_run=dry_run)


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
