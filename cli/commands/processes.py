"""The pieces that production runs one by one, and that the stack on this machine is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from cli.settings import load
from cli.target import run

_PANEL: Final = "The pieces, for production"


def add_to(app: typer.Typer) -> None:
    for command in (api, worker, migrate, seed, sandbox):
        app.command(rich_help_panel=_PANEL)(command)


def api() -> None:
    """Serve the HTTP API."""
    settings = load()
    from cli.entries import api as entry

    run(entry.run(settings))


def worker(
    pulse: Annotated[
        Path | None, typer.Option(help="A file kept young while Temporal sees this worker poll.")
    ] = None,
) -> None:
    """Run workflows and activities."""
    settings = load()
    from cli.entries import worker as entry

    run(entry.run(settings, pulse))


def migrate() -> None:
    """Bring Postgres and Temporal to what this version needs; safe to repeat."""
    settings = load()
    from cli import migration

    run(migration.migrate(settings))


def seed(
    file: Annotated[
        Path,
        typer.Option(envvar="CROSSDOCK_SANDBOX_FILE", help="Where the partners are described."),
    ] = Path("sandbox.json"),
    url: Annotated[
        str, typer.Option(envvar="CROSSDOCK_SANDBOX_URL", help="Where the partners will be.")
    ] = "http://127.0.0.1:8090",
    number: Annotated[
        int,
        typer.Option("--seed", envvar="CROSSDOCK_SEED", help="Another one, another network."),
    ] = 7,
) -> None:
    """Load the sample network with sandbox partners; what is there already stays as it is."""
    settings = load()
    from cli import seeding

    run(seeding.seed(settings, file, url, number))


def sandbox(
    file: Annotated[
        Path, typer.Argument(envvar="CROSSDOCK_SANDBOX_FILE", help="What `seed` wrote.")
    ] = Path("sandbox.json"),
    port: Annotated[int, typer.Option(envvar="CROSSDOCK_SANDBOX_PORT")] = 8090,
) -> None:
    """Serve the sandbox partners: shops, 3PLs and stores that behave like the outside world."""
    from cli.entries import sandbox as entry

    run(entry.run(file, port))
