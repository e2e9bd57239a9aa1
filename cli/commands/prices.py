"""Shadow prices of stock: list and show books, fit one now, and the switch."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cli.printing import console, table
from cli.target import run

if TYPE_CHECKING:
    from activities.pricing import Made
    from storage.prices import Entry, Kept, State

prices = typer.Typer(no_args_is_help=True, help="See, fit, and switch shadow prices of stock.")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Note = Annotated[str, typer.Option(help="Why; it goes into the history.")]
ACTOR = "cli"


def add_to(app: typer.Typer) -> None:
    app.add_typer(prices, name="prices", rich_help_panel="Operations")


@prices.command(name="list")
def list_(*, as_json: AsJson = False) -> None:
    """List the books, how prices stand, and what became of them, by whom and why."""
    state, books, entries = run(_listed())
    if as_json:
        told = {
            "state": state.model_dump(mode="json"),
            "items": [book.model_dump(mode="json") for book in books],
            "history": [entry.model_dump(mode="json") for entry in entries],
        }
        typer.echo(json.dumps(told))
        return
    typer.echo(_said(state))
    listed = table("version", "method", "decisions", "saved in trial", "made")
    for book in books:
        saved, made = f"{book.evidence.saved:.2%}", f"{book.made_at:%Y-%m-%d %H:%M:%S}"
        listed.add_row(book.version[:12], book.method, str(book.decisions), saved, made)
    console().print(listed)
    history = table("at", "what", "version", "by", "why")
    for entry in entries:
        at, version = f"{entry.at:%Y-%m-%d %H:%M:%S}", (entry.version or "")[:12]
        history.add_row(at, entry.action, version, entry.actor, entry.note)
    console().print(history)


@prices.command()
def show(
    version: Annotated[str, typer.Argument(help="Of a book, or how it begins.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show a book: what every scale of every kind of prices cost when it was tried."""
    book = run(_shown(version))
    if as_json:
        typer.echo(book.model_dump_json())
        return
    tried = book.evidence
    typer.echo(
        f"{book.version}\n{book.method}, of {book.decisions} decisions,"
        f" {tried.per_horizon} in {tried.horizon_days:g} days;"
        f" {book.unpriced:.0%} of the SKUs are without prices"
    )
    listed = table("prices", "scale", f"cost of {tried.tried} orders", "saved")
    none = tried.trials[0].cost_minor
    for trial in tried.trials:
        saved = 1 - trial.cost_minor / none if none else 0.0
        listed.add_row(trial.method, f"{trial.scale:g}", str(trial.cost_minor), f"{saved:.2%}")
    console().print(listed)


@prices.command()
def fit(*, as_json: AsJson = False) -> None:
    """Make a pass now: see whether prices pay, fit a book, try it, and have it hold if it pays."""
    made = run(_fit())
    typer.echo(made.model_dump_json() if as_json else f"{made.outcome}: {made.note}")


@prices.command()
def off(*, note: Note = "") -> None:
    """Have no prices from the next decision on, until they are turned on."""
    typer.echo(_said(run(_off(note))))


@prices.command()
def on(
    version: Annotated[str, typer.Argument(help="Of a book; empty is the last that held.")] = "",
    *,
    note: Note = "",
) -> None:
    """Have a book hold from the next decision on; the next pass may replace it."""
    typer.echo(_said(run(_on(version, note))))


def _said(state: State) -> str:
    if not state.on and state.last is not None:
        last = state.last
        return f"off since {last.at:%Y-%m-%d %H:%M:%S}, by {last.actor}: {last.note or 'no reason'}"
    if state.version is None:
        return "on, with no book: none was fitted yet, or none pays"
    return f"on: {state.version[:12]}; priced since {state.priced_since:%Y-%m-%d %H:%M:%S}"


async def _listed() -> tuple[State, tuple[Kept, ...], tuple[Entry, ...]]:
    from cli.wiring import conversation
    from storage import prices

    async with conversation(start=("postgres",), read_only=True) as conn:
        return await prices.state(conn), await prices.listed(conn), await prices.history(conn)


async def _shown(version: str) -> Kept:
    from cli.wiring import conversation
    from storage import prices

    async with conversation(start=("postgres",), read_only=True) as conn:
        return await prices.get(conn, version)


async def _fit() -> Made:
    from activities.pricing import once
    from cli.target import installation
    from cli.wiring import engine

    async with installation() as settings, engine(settings) as opened:
        return await once(opened, settings.pricing)


async def _off(note: str) -> State:
    from cli.wiring import conversation
    from storage import prices

    async with conversation() as conn:
        return await prices.off(conn, ACTOR, note)


async def _on(version: str, note: str) -> State:
    from cli.wiring import conversation
    from storage import prices

    async with conversation() as conn:
        return await prices.on(conn, ACTOR, version or None, note)
