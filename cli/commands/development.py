"""What a developer runs: the checks, the tests, the benchmarks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from cli import bench as benches
from cli.stack.services import ROOT

_PANEL: Final = "Development"
_BIN: Final = Path(sys.prefix) / "bin"
_PROCESSES: Final = str(min(os.cpu_count() or 1, 4))
_CHECKS: Final = {
    "format": [str(_BIN / "ruff"), "format", "--check", "."],
    "lint": [str(_BIN / "ruff"), "check", "--quiet", "--output-format", "concise", "."],
    "types": [str(_BIN / "mypy")],
    "imports": [str(_BIN / "lint-imports")],
}


def add_to(app: typer.Typer) -> None:
    passed_on = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(rich_help_panel=_PANEL, context_settings=passed_on, add_help_option=False)(test)
    app.command(rich_help_panel=_PANEL)(check)
    app.command(rich_help_panel=_PANEL)(bench)


def test(context: typer.Context) -> None:
    """
    Run the test suite; arguments are pytest's own.

    All of it runs in several processes, which mostly wait; what is chosen by a word runs in one.
    """
    chosen = any(not argument.startswith("-") for argument in context.args)
    several = [] if chosen else ["--numprocesses", _PROCESSES, "--dist", "loadfile"]
    command = [sys.executable, "-P", "-m", "pytest", *several, *context.args]
    raise typer.Exit(_in_root(command))


def check() -> None:
    """Check format, lint, types and import contracts."""
    failed = []
    for name, command in _CHECKS.items():
        done = _in_root(command, quiet=True)
        typer.echo(f"{name}: {'fails' if done else 'holds'}")
        failed += [name] if done else []
    raise typer.Exit(1 if failed else 0)


def bench(
    name: Annotated[str, typer.Argument(help="Which one; --list names them.")] = "",
    seed: Annotated[int, typer.Option()] = 1,
    seconds: Annotated[float | None, typer.Option(help="How long to work, about.")] = None,
    size: Annotated[str | None, typer.Option(help="How large: S, M or L.")] = None,
    plot: Annotated[str | None, typer.Option(help="Draw it: the SVG to write.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="End with one JSON object.")] = False,
    show_list: Annotated[bool, typer.Option("--list", help="Name the benchmarks.")] = False,
) -> None:
    """Measure; exit code 1 when a target on a ratio or a count is missed."""
    if show_list or not name:
        for known, summary in benches.names().items():
            typer.echo(f"{known:16} {summary}")
        return
    report = benches.run(name, seed, seconds=seconds, size=size, plot=plot)
    typer.echo(report.model_dump_json() if as_json else benches.table(report))
    raise typer.Exit(0 if report.ok else 1)


def _in_root(command: list[str], *, quiet: bool = False) -> int:
    """Runs it in the repository's root; a quiet one speaks only when it fails."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=False, capture_output=quiet, text=True
    )
    if quiet and done.returncode:
        typer.echo((done.stdout + done.stderr).strip())
    return done.returncode
