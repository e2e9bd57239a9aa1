"""Decisions: what was decided and why, why not otherwise, and the same again from the record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from cli.printing import console
from cli.target import run
from domain.errors import Invalid
from domain.sourcing.words import count

if TYPE_CHECKING:
    from cli.deciding import Told

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="An order's id, or a decision's.")]

decisions = typer.Typer(no_args_is_help=True, help="Show, question and replay decisions.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(decisions, name="decision", rich_help_panel="Operations")


@decisions.command()
def show(name: Name, *, as_json: AsJson = False) -> None:
    """Show an order's decisions, with the answers to what people ask of them."""
    from cli import deciding

    found = run(deciding.shown(name))
    if as_json:
        typer.echo(json.dumps([told.model_dump(mode="json") for told in found]))
        return
    for told in found:
        _print(told)


@decisions.command()
def why(
    name: Name,
    node: Annotated[
        str, typer.Option(help="Why not from there; else all that were left out.")
    ] = "",
    number: Annotated[
        int | None, typer.Option("--round", min=1, help="Which of its decisions; else the newest.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Say what a node that was left out would have cost, and what would have made it win."""
    from cli import deciding

    found = run(deciding.asked(name, node, number))
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found]))
        return
    for one in found:
        typer.echo(one.text)


@decisions.command()
def replay(
    name: Annotated[str, typer.Argument(help="An order's id, or a decision's.")] = "",
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every decision there is.")] = False,
    as_json: AsJson = False,
) -> None:
    """Decide again from the record alone; exit code 1 where anything comes out otherwise."""
    from cli import deciding

    if bool(name) == everything:
        raise Invalid("name an order or a decision, or say --all")
    report = run(deciding.replayed(name))
    if as_json:
        typer.echo(report.model_dump_json())
    else:
        for one in report.differences:
            verb = "differs" if len(one.parts) == 1 else "differ"
            typer.echo(f"{one.decision_id}: {', '.join(one.parts)} {verb}: {one.hint}")
        for version, number in report.other_versions.items():
            typer.echo(f"{number} by another version: {version}")
        decided = count(report.decisions, "decision", "decisions")
        typer.echo(f"{decided}, {count(report.differing, 'differs', 'differ')}")
    raise typer.Exit(0 if report.ok else 1)


def _print(told: Told) -> None:
    screen, decision = console(), told.stored.record.decision
    when = f"{decision.problem.as_of:%Y-%m-%d %H:%M:%S} UTC"
    screen.print(f"[bold]{decision.decision_id}[/bold], {when}, {told.stored.bytes} bytes")
    for answer in told.answers:
        screen.print(f"  [dim]{answer.asked}[/dim]", markup=True)
        screen.print(f"    {answer.text}", markup=False)
