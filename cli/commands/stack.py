"""The whole stack on this machine: show it at work, bring it up, look at it, take it down."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path
from typing import Annotated, Final, Literal

import typer
from rich.console import Console

from cli.printing import console, table
from cli.stack import lifecycle
from cli.stack.ports import LOOPBACK
from cli.stack.record import Record, alive
from cli.stack.site import Site, api_url, sites
from domain.errors import NotFound, Refused

_PANEL: Final = "The stack on this machine"
Profile = Literal["up", "demo"]


def add_to(app: typer.Typer) -> None:
    for command in (demo, up, down, status, logs):
        app.command(rich_help_panel=_PANEL)(command)


def demo(
    orders: Annotated[int, typer.Option(min=1, help="How many orders the shops send.")] = 200,
    seed: Annotated[int, typer.Option(help="Another seed is another day.")] = 1,
    *,
    keep: Annotated[bool, typer.Option("--keep", help="Leave everything up at the end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object.")] = False,
) -> None:
    """Watch orders flow: the whole stack with sandbox partners, and an audit at the end."""
    from cli.demo import run as play

    raise typer.Exit(play(orders, seed, keep, as_json))


def up(
    profile: Annotated[Profile, typer.Option(help="Which data to run on.")] = "up",
    *,
    detach: Annotated[bool, typer.Option("--detach", help="Return once it is ready.")] = False,
    plain: Annotated[bool, typer.Option("--plain", hidden=True)] = False,
) -> None:
    """Run the stack in the foreground, supervised, on data that stays; Ctrl-C ends it."""
    screen = console(plain=plain)
    if detach:
        show(lifecycle.launch_behind(Site(profile), bound=False), screen)
        return

    def tell(line: str) -> None:
        screen.print(f"{time.strftime('%H:%M:%S')} {line}", style="dim")

    asyncio.run(lifecycle.serve(Site(profile), tell, lambda record: show(record, screen)))


def down() -> None:
    """Stop what runs, and what a killed stack left running."""
    stopped = [site.profile for site in sites() if lifecycle.halt(site)]
    typer.echo(f"stopped: {', '.join(stopped)}" if stopped else "nothing was running")


def status() -> None:
    """Show what runs, where, and how often it was restarted; exit code 1 when nothing is up."""
    found = lifecycle.running()
    if found is None:
        raise Refused("nothing is up; ./crossdock up starts it")
    _, record = found
    listed = table("process", "pid", "state", "restarts", title=f"{record.profile} stack")
    for process in record.processes:
        state = "running" if alive(process) else "[red]dead[/red]"
        listed.add_row(process.name, str(process.pid), state, str(process.restarts))
    screen = console()
    screen.print(listed)
    show(record, screen)


def logs(
    name: Annotated[str, typer.Argument(help="postgres, temporal, api, worker, ...")] = "",
    lines: Annotated[int, typer.Option("--lines", "-n", min=0)] = 50,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f")] = False,
) -> None:
    """Print the end of the logs of the stack used last."""
    known = sites()
    if not known:
        raise NotFound("there are no logs yet")
    files = _logs_of(known[0].logs, name)
    try:
        tail = ["tail", "-n", str(lines), *(["-F"] if follow else []), "--", *map(str, files)]
        subprocess.run(tail, check=False)
    except KeyboardInterrupt:
        return


def show(record: Record, screen: Console) -> None:
    """Where to look and what to call."""
    ports = record.ports
    screen.print(f"  Temporal UI    http://{LOOPBACK}:{ports.ui}")
    screen.print(f"  API, console   {api_url(ports)}")
    screen.print(f"  API docs       {api_url(ports)}/docs")
    screen.print(f"  Partners       http://{LOOPBACK}:{ports.sandbox}")
    screen.print(
        f"  Postgres       {LOOPBACK}:{ports.postgres}, Temporal {LOOPBACK}:{ports.temporal}"
    )


def _logs_of(folder: Path, name: str) -> list[Path]:
    files = sorted(folder.glob("*.log"))
    if not name:
        return files
    wanted = [file for file in files if file.stem == name]
    if not wanted:
        raise NotFound(f"no log {name!r}; there are {', '.join(file.stem for file in files)}")
    return wanted
