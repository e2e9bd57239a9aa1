"""Stock: load a file of counts, see what is short, see what moved."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.printing import console, table
from cli.target import installation, run
from domain.errors import Invalid
from domain.sourcing.words import count

if TYPE_CHECKING:
    from api.loading import Loaded
    from storage.history import Movement
    from storage.shortages import StockException

_BY: Final = "crossdock stock"

stock = typer.Typer(no_args_is_help=True, help="Load counts, see what is short and what moved.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(stock, name="stock", rich_help_panel="Operations")


@stock.command()
def load(
    file: Annotated[Path, typer.Argument(help="CSV with sku,node,on_hand, or .ndjson.")],
    report: Annotated[
        Path | None, typer.Option(help="Where wrong rows are told; FILE.errors.csv.")
    ] = None,
    as_of: Annotated[
        str, typer.Option(help="The moment the file speaks of, such as 2026-11-20T02:00Z.")
    ] = "",
    *,
    again: Annotated[bool, typer.Option(help="Count anew what was loaded before.")] = False,
) -> None:
    """Load counts, any number of rows; exit code 1 if rows were wrong. Run again, it goes on."""
    if not file.is_file():
        raise Invalid(f"there is no file {file}")
    errors = report or file.with_name(f"{file.name}.errors.csv")
    loaded = run(_load(file, errors, _moment(as_of), again=again))
    went_on = ", going on where it ended" if loaded.resumed else ""
    typer.echo(
        f"{count(loaded.rows, 'row', 'rows')} as of {loaded.as_of:%Y-%m-%d %H:%M:%SZ}{went_on}:"
        f" {loaded.applied} applied, {loaded.newer} counted later by others,"
        f" {loaded.rejected} rejected; {count(loaded.woken, 'order tries', 'orders try')} again"
    )
    if loaded.rejected:
        typer.echo(f"what is wrong is in {errors}")
        raise typer.Exit(1)


@stock.command()
def exceptions(
    node: Annotated[list[str] | None, typer.Option(help="Only at this node; several.")] = None,
    *,
    cleared: Annotated[bool, typer.Option("--all", help="Those that are over as well.")] = False,
) -> None:
    """List shelves with fewer units than are allocated there."""
    listed = table("id", "sku", "node", "short", "there", "allocated", "why", "since", "orders")
    for found in run(_exceptions(node, cleared=cleared)):
        over = f", over: {found.cleared_by}" if found.cleared_at else ""
        listed.add_row(
            *(str(found.id), found.sku, found.node, str(found.short), str(found.there)),
            *(str(found.allocated), f"{found.cause} ({found.actor}){over}"),
            *(f"{found.opened_at:%Y-%m-%d %H:%M}", " ".join(found.orders)),
        )
    console().print(listed)


@stock.command()
def movements(
    sku: Annotated[str, typer.Argument(help="The SKU.")],
    node: Annotated[str | None, typer.Option(help="Only at this node.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """List what moved a SKU, the newest first."""
    listed = table("at", "node", "on hand", "allocated", "reserved", "why", "order")
    for moved in run(_movements(sku, node, limit)):
        on_hand = f"{moved.on_hand_before} → {moved.on_hand_after}"
        allocated = f"{moved.allocated_before} → {moved.allocated_after}"
        reserved = f"{moved.reserved_delta:+}" if moved.reserved_delta else ""
        listed.add_row(
            f"{moved.at:%Y-%m-%d %H:%M:%S}",
            *(moved.node or "", on_hand if moved.node else "", allocated if moved.node else ""),
            *(reserved, f"{moved.cause} ({moved.actor})", moved.order_id or ""),
        )
    console().print(listed)


def _moment(said: str) -> datetime | None:
    if not said:
        return None
    try:
        moment = datetime.fromisoformat(said)
    except ValueError as error:
        raise Invalid(f"as-of: {said} is not a time such as 2026-11-20T02:00Z") from error
    if moment.tzinfo is None:
        raise Invalid("as-of: say the zone as well, such as 2026-11-20T02:00Z")
    return moment.astimezone(UTC)


async def _load(file: Path, errors: Path, as_of: datetime | None, *, again: bool) -> Loaded:
    from cli.stock_file import load
    from cli.wiring import engine

    async with installation() as settings, engine(settings) as opened:
        return await load(opened, file, errors, actor=_BY, as_of=as_of, again=again)


async def _exceptions(nodes: list[str] | None, *, cleared: bool) -> tuple[StockException, ...]:
    from cli.wiring import conversation
    from storage import shortages

    async with conversation(start=("postgres",), read_only=True) as conn:
        return await shortages.exceptions(conn, nodes=nodes, cleared=cleared, limit=1000)


async def _movements(sku: str, node: str | None, limit: int) -> tuple[Movement, ...]:
    from cli.wiring import conversation
    from storage import history

    async with conversation(start=("postgres",), read_only=True) as conn:
        nodes = None if node is None else [node]
        return await history.movements_of(conn, sku, nodes, limit=limit)
