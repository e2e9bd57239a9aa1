"""The auditor's command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.target import installation, run

if TYPE_CHECKING:
    from cli.audit import AuditReport

_READS: Final = ("postgres", "temporal")


def add_to(app: typer.Typer) -> None:
    app.command(rich_help_panel="Operations")(audit)


def audit(*, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Check the invariants over tables, workflows and partners' logs; exit code 1 for findings."""
    report = run(_audit())
    if as_json:
        typer.echo(report.model_dump_json())
    else:
        for finding in report.findings:
            typer.echo(f"invariant {finding.invariant}, {finding.subject}: {finding.message}")
        typer.echo(f"{len(report.findings)} findings")
    raise typer.Exit(1 if report.findings else 0)


async def _audit() -> AuditReport:
    from cli import audit as auditor
    from cli.wiring import engine, temporal
    from connectors.sandbox.config import load

    async with installation(start=_READS) as settings:
        file = settings.sandbox_file
        partners = load(file).database if file is not None and file.exists() else None
        async with engine(settings, read_only=True) as opened:
            return await auditor.audit(opened, await temporal(settings), partners)
