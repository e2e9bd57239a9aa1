"""The auditor's commands: what is wrong in the books, and what is done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from cli.printing import console, table
from cli.target import installation, run
from domain.sourcing.words import count

if TYPE_CHECKING:
    from cli.audit import AuditReport
    from storage.repairs import Repair

_READS: Final = ("postgres", "temporal")
_BY: Final = "crossdock repairs"
RepairId = Annotated[int, typer.Argument(help="The repair's number.")]

repairs = typer.Typer(no_args_is_help=True, help="See, make and refuse repairs of the books.")


def add_to(app: typer.Typer) -> None:
    app.command(rich_help_panel="Operations")(audit)
    app.add_typer(repairs, name="repairs", rich_help_panel="Operations")


def audit(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what is wrong, or propose to, by policy.")
    ] = False,
) -> None:
    """Check the invariants over tables, workflows and partners' logs; exit code 1 for findings."""
    report = run(_repaired() if repair else _audit())
    if as_json:
        typer.echo(report.model_dump_json())
    else:
        for made in report.repairs:
            typer.echo(f"repair {made.id}, {_row(made)}: {made.finding}: {made.status} {made.note}")
        for finding in report.findings:
            typer.echo(f"invariant {finding.invariant}, {finding.subject}: {finding.message}")
        typer.echo(count(len(report.findings), "finding", "findings"))
    raise typer.Exit(1 if report.findings else 0)


@repairs.command(name="list")
def show(
    status: Annotated[
        str, typer.Option(help="proposed, applied, refused, gone; empty is any.")
    ] = "",
) -> None:
    """List repairs, the oldest first."""
    listed = table("id", "status", "row", "finding", "before", "after", "by")
    for made in run(_listed(status)):
        wrong, right = _difference(made)
        by = made.decided_by or ""
        listed.add_row(str(made.id), made.status, _row(made), made.finding, wrong, right, by)
    console().print(listed)


@repairs.command()
def apply(repair_id: RepairId) -> None:
    """Make a proposed repair, if the row is still wrong."""
    made = run(_decided(repair_id, "apply"))
    typer.echo(f"repair {made.id}, {_row(made)}: {made.status} {made.note}".rstrip())


@repairs.command()
def refuse(
    repair_id: RepairId, note: Annotated[str, typer.Option(help="Why the row stays.")] = ""
) -> None:
    """Leave the row as it is; the finding stays."""
    made = run(_decided(repair_id, "refuse", note))
    typer.echo(f"repair {made.id}, {_row(made)}: {made.status}")


def _row(made: Repair) -> str:
    return " ".join((made.table, *(str(said) for said in made.key.values())))


def _difference(made: Repair) -> tuple[str, str]:
    """What differs between the row as it was and as it is to be."""
    before, after = made.before, made.after
    if before is None or after is None:
        return "not there" if before is None else "there", "goes" if after is None else "there"
    other = [name for name in before if before[name] != after.get(name)]
    return tuple(", ".join(f"{n} {row.get(n)}" for n in other) for row in (before, after))  # type: ignore[return-value]


async def _audit() -> AuditReport:
    from cli import audit as auditor
    from cli.wiring import engine, temporal
    from connectors.sandbox.config import load

    async with installation(start=_READS) as settings:
        file = settings.sandbox_file
        partners = load(file).database if file is not None and file.exists() else None
        async with engine(settings, read_only=True) as opened:
            return await auditor.audit(opened, await temporal(settings), partners)


async def _repaired() -> AuditReport:
    """Mended first; what is found then is left for people."""
    from activities.auditing import mend
    from cli.wiring import engine

    async with installation() as settings, engine(settings) as opened:
        made = await mend(opened, settings.policies())
    return (await _audit()).model_copy(update={"repairs": made})


async def _listed(status: str) -> tuple[Repair, ...]:
    from cli.wiring import conversation
    from domain.errors import Invalid
    from storage import repairs as stored

    known: dict[str, stored.Status | None] = {"": None, "proposed": "proposed"}
    known |= {"applied": "applied", "refused": "refused", "gone": "gone"}
    if status not in known:
        raise Invalid(f"--status: must be one of {', '.join(filter(None, known))}")
    async with conversation(start=("postgres",), read_only=True) as conn:
        return await stored.listed(conn, status=known[status], limit=1000)


async def _decided(number: int, what: Literal["apply", "refuse"], note: str = "") -> Repair:
    from cli.wiring import conversation
    from storage import repairs as stored

    async with conversation() as conn:
        if what == "apply":
            return await stored.apply(conn, number, _BY)
        return await stored.refuse(conn, number, _BY, note)
