"""Rules of sourcing: bring them in, look at them, compare, activate, and try them on an order."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.printing import console, table
from cli.target import installation, run
from domain.errors import Invalid, NotFound
from domain.sourcing.words import count, reworded

if TYPE_CHECKING:
    from api.trying import Tried
    from domain.rules.differences import Difference
    from domain.rules.evaluation import Told
    from storage.rules import Entry, Kept, Listed

_BY: Final = "crossdock rules"
_MOST_BYTES: Final = 1024 * 1024
Named = Annotated[str, typer.Argument(help="NAME, or NAME@VERSION.")]
Numbered = Annotated[str, typer.Argument(help="NAME@VERSION.")]
Why = Annotated[str, typer.Option(help="Why; kept in the history.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

rules = typer.Typer(no_args_is_help=True, help="Keep, compare, activate and try rule sets.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(rules, name="rules", rich_help_panel="Operations")


@rules.command(name="list")
def find(
    name: Annotated[str, typer.Argument(help="Only of this name.")] = "", *, as_json: AsJson = False
) -> None:
    """List the versions, the newest of a name first."""
    found = run(_list(name))
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found]))
        return
    listed = table("rule set", "status", "owner", "saved", "by", "note")
    for one in found:
        status = f"[green]{one.status}[/green]" if one.status == "active" else one.status
        listed.add_row(
            *(f"{one.name}@{one.version}", status, one.owner),
            *(f"{one.at:%Y-%m-%d %H:%M}", one.actor, one.note),
        )
    console().print(listed)


@rules.command()
def show(named: Named, *, as_json: AsJson = False) -> None:
    """Show a version, the active one without a number, and its history."""
    kept, story = run(_show(*_version(named)))
    if as_json:
        typer.echo(kept.model_dump_json())
        return
    from domain.rules.documents import dump

    typer.echo(f"# {_label(kept)}: {kept.status}, saved by {kept.actor}")
    typer.echo(dump(kept.rules), nl=False)
    for entry in story:
        note = f": {entry.note}" if entry.note else ""
        said = f"{entry.action} by {entry.actor}{note}"
        typer.echo(f"# {entry.at:%Y-%m-%d %H:%M:%S} {entry.name}@{entry.version} {said}")


@rules.command(name="import")
def bring(
    file: Annotated[str, typer.Argument(help="A YAML file, or - for standard input.")],
    *,
    activated: Annotated[bool, typer.Option("--activate", help="Activate it as well.")] = False,
) -> None:
    """Keep a file's rule set as a new draft; what is wrong is told with line and field."""
    kept = run(_import(_read(file), activated=activated))
    _tell(kept)


@rules.command()
def export(
    named: Named,
    output: Annotated[str, typer.Option("--output", "-o", help="A file; else printed.")] = "",
) -> None:
    """Write a version as YAML, which `import` takes again."""
    from domain.rules.documents import dump

    kept, _ = run(_show(*_version(named)))
    text = dump(kept.rules)
    if not output:
        typer.echo(text, nl=False)
        return
    try:
        Path(output).write_text(text, encoding="utf-8")
    except OSError as error:
        raise Invalid(f"output: {output}: {error.strerror}") from None
    typer.echo(f"{_label(kept)} is in {output}")


@rules.command()
def diff(
    before: Named,
    after: Annotated[str, typer.Argument(help="NAME@VERSION, or a YAML file.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Tell what changed from one version to another, or to a file; exit code 1 if anything."""
    file = _read(after) if Path(after).is_file() else None
    found = run(_diff(before, after, file))
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found]))
    else:
        typer.echo("\n".join(str(one) for one in found) or "the two say the same")
    if found:
        raise typer.Exit(1)


@rules.command()
def activate(named: Numbered, note: Why = "") -> None:
    """Have orders judged by a version from now on."""
    name, version = _numbered(named)
    _tell(run(_activate(name, version, note)))


@rules.command()
def archive(named: Numbered, note: Why = "") -> None:
    """Have no order judged by a version any more."""
    name, version = _numbered(named)
    kept = run(_archive(name, version, note))
    typer.echo(f"{_label(kept)} is {kept.status}")


@rules.command(name="try")
def try_out(
    order: Annotated[str, typer.Argument(help="An order's id, or a JSON file of one to invent.")],
    with_: Annotated[
        str, typer.Option("--with", help="NAME or NAME@VERSION; else what holds for it.")
    ] = "",
    *,
    as_json: AsJson = False,
) -> None:
    """Judge and solve an order, real or invented, and write nothing."""
    named_file = Path(order).is_file() or order.endswith(".json") or order == "-"
    file = _read(order) if named_file else None
    found = run(_try(order, file, with_))
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        _print_tried(found)


def _version(named: str) -> tuple[str, int | None]:
    name, at, number = named.partition("@")
    if not name or (at and not (number.isdecimal() and 0 < int(number) < 2**31)):
        raise Invalid(f"{named}: write NAME or NAME@VERSION, such as web-standard@3")
    return name, int(number) if at else None


def _numbered(named: str) -> tuple[str, int]:
    name, version = _version(named)
    if version is None:
        raise Invalid(f"{named}: say which version, such as {named}@1; `rules list` shows them")
    return name, version


def _tell(kept: Kept) -> None:
    typer.echo(f"{_label(kept)} is {'a ' if kept.status == 'draft' else ''}{kept.status}")
    for one in kept.unknown:
        typer.echo(f"careful: {one}", err=True)


def _label(kept: Kept) -> str:
    return f"{kept.rules.name}@{kept.version}"


def _read(file: str) -> str:
    try:
        found = sys.stdin.buffer.read(_MOST_BYTES) if file == "-" else Path(file).read_bytes()
        return found.decode()
    except OSError as error:
        raise NotFound(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Invalid(f"{file}: is not text in UTF-8") from None


def _print_tried(found: Tried) -> None:
    screen = console()
    plan, policy = found.plan, found.judged.policy if found.judged else None
    if found.judged is None or policy is None:
        screen.print("no profile matches the order: the built-in policy holds")
    else:
        screen.print(
            f"[bold]{policy.rules}[/bold], profile {found.judged.profile},"
            f" objective {policy.profile}"
        )
        for said in found.judged.told:
            screen.print(f"  {_told(said)}", markup=False)
        if found.rules != policy.rules:
            screen.print(f"  that leads to {found.rules}, which judges the whole order")
    for package in plan.assignments:
        units = sum(line.quantity for line in package.lines)
        cost = _money(found, package.cost.total)
        sent = count(units, "unit", "units")
        screen.print(f"  {sent} from {package.node} by {package.service}, cost {cost}")
    left = sum(line.quantity for line in plan.unsourced)
    if left:
        screen.print(f"  {count(left, 'unit finds', 'units find')} no node{_then(found)}")
    if found.relaxed:
        screen.print(f"  not kept to, being soft: {', '.join(found.relaxed)}")
    for node, reason in found.eliminated.items():
        screen.print(f"  not from {node}: {reworded(reason)}", markup=False)
    review = "; it waits for approval" if found.review and plan.assignments else ""
    screen.print(f"cost {_money(found, plan.cost.total)}{review}; nothing was written")


def _money(found: Tried, minor: int) -> str:
    from domain.money import Money

    return str(Money(minor=minor, currency=found.currency))


def _then(found: Tried) -> str:
    """What becomes of them; empty: a person is asked, as without rules."""
    outcome = found.outcome
    if not outcome.then:
        return ""
    told = f": {outcome.then} {outcome.next or outcome.queue}".rstrip()
    if outcome.cancel_after is not None:
        told += f", cancelled after {outcome.cancel_after}"
    if found.plan.assignments:
        told += "; the others leave" if outcome.allocate else "; the others wait for them"
    return told


def _told(said: Told) -> str:
    nodes = f" for {' '.join(said.nodes)}" if said.nodes else ""
    lines = f", lines {' '.join(said.lines)}" if said.lines else ""
    error = f" ({said.error})" if said.error else ""
    when = f" when {' '.join(said.when.split())}" if said.when else ""
    return f"{said.name}{when}: {said.state.replace('_', ' ')}{nodes}{lines}{error}"


async def _list(name: str) -> tuple[Listed, ...]:
    from cli.wiring import conversation
    from storage import rules as kept

    async with conversation(start=("postgres",), read_only=True) as conn:
        return await kept.listed(conn, name=name or None, limit=1000)


async def _show(name: str, version: int | None) -> tuple[Kept, tuple[Entry, ...]]:
    from cli.wiring import conversation
    from storage import rules as kept

    async with conversation(start=("postgres",), read_only=True) as conn:
        return await kept.get(conn, name, version), await kept.history(conn, name, limit=1000)


async def _import(text: str, *, activated: bool) -> Kept:
    from cli.wiring import conversation
    from domain.rules.documents import load
    from storage import rules as kept

    said = load(text)
    async with conversation() as conn:
        made = await kept.save(conn, said, _BY)
        if activated:
            made = await kept.activate(conn, said.name, made.version, _BY)
        return made


async def _diff(before: str, after: str, file: str | None) -> tuple[Difference, ...]:
    from domain.rules.differences import differences
    from domain.rules.documents import load

    old, _ = await _show(*_version(before))
    if file is not None:
        return differences(old.rules, load(file))
    new, _ = await _show(*_version(after))
    return differences(old.rules, new.rules)


async def _activate(name: str, version: int, note: str) -> Kept:
    from cli.wiring import conversation
    from storage import rules as kept

    async with conversation() as conn:
        return await kept.activate(conn, name, version, _BY, note)


async def _archive(name: str, version: int, note: str) -> Kept:
    from cli.wiring import conversation
    from storage import rules as kept

    async with conversation() as conn:
        return await kept.archive(conn, name, version, _BY, note)


async def _try(order: str, file: str | None, named: str) -> Tried:
    from api import trying
    from api.services import utc_now
    from cli.ordering import read_order
    from cli.wiring import engine

    name, version = _version(named) if named else (None, None)
    invented = None if file is None else read_order(file)
    async with (
        installation(start=("postgres",)) as settings,
        engine(settings, read_only=True) as opened,
    ):
        asked = invented or await trying.placed(opened, order)
        return await trying.tried(opened, asked, now=utc_now(), name=name, version=version)
