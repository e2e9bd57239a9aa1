"""Orders: place one, look one up, decide what waits for a person."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.printing import console, table
from cli.target import installation, run
from domain.errors import NotFound, Refused
from domain.orders import OrderStatus
from domain.records import Action
from domain.sourcing.words import count

if TYPE_CHECKING:
    from temporalio.client import Client

    from storage.reads import OrderCard, OrderSummary

_BY: Final = "crossdock order"
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OrderId = Annotated[str, typer.Argument(help="CHANNEL-CHANNEL_ORDER_ID")]
Note = Annotated[str, typer.Option(help="Why; kept in the order's story.")]

orders = typer.Typer(no_args_is_help=True, help="Place orders, look them up, decide about them.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(orders, name="order", rich_help_panel="Operations")


@orders.command()
def submit(
    file: Annotated[str, typer.Argument(help="A JSON file, or - for standard input.")],
) -> None:
    """Place an order, as POST /v1/orders would; exit code 1 where it is refused."""
    from cli import ordering

    text = sys.stdin.read() if file == "-" else _read(Path(file))
    answer = run(ordering.submit(text))
    typer.echo(answer.model_dump_json(exclude_defaults=True))
    if answer.outcome == "refused":
        raise typer.Exit(1)


@orders.command()
def show(order_id: OrderId, *, as_json: AsJson = False) -> None:
    """Show all that is known of an order: how it stands, where it is, and its story."""
    from cli import ordering

    card = run(ordering.card(order_id))
    if as_json:
        typer.echo(card.model_dump_json())
    else:
        _print_card(card)


@orders.command(name="list")
def find(
    status: Annotated[OrderStatus | None, typer.Option()] = None,
    channel: Annotated[str, typer.Option()] = "",
    query: Annotated[str, typer.Option("--query", "-q", help="Id, e-mail, name, postcode.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    *,
    attention: Annotated[
        bool, typer.Option("--attention", help="What waits for a person.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List orders, newest first."""
    from cli import ordering

    found = run(
        ordering.find(status=status, channel=channel, query=query, limit=limit, attention=attention)
    )
    if as_json:
        typer.echo(json.dumps([one.model_dump(mode="json") for one in found]))
    else:
        _print_list(found)


@orders.command()
def cancel(order_id: OrderId, note: Note = "") -> None:
    """Cancel what has not left yet."""
    from workflows import client
    from workflows.messages import Cancel

    _tell(order_id, lambda temporal: client.cancel(temporal, order_id, Cancel(by=_BY, note=note)))


@orders.command()
def resolve(
    order_id: OrderId,
    action: Annotated[Action, typer.Argument()] = "retry",
    item: Annotated[str, typer.Option(help="Which of several attention items.")] = "",
    note: Note = "",
) -> None:
    """Decide what waits for a person: retry, skip, reroute, approve or cancel."""
    from workflows import client
    from workflows.messages import Resolve

    message = Resolve(action=action, item=item, note=note, by=_BY)
    _tell(order_id, lambda temporal: client.resolve(temporal, order_id, message))


@orders.command()
def release(
    order_id: OrderId,
    handle: Annotated[str, typer.Option(help="Which hold; all without it.")] = "",
    note: Note = "",
) -> None:
    """Release the holds of an order."""
    from workflows import client
    from workflows.messages import ReleaseHold

    message = ReleaseHold(handle=handle, note=note, by=_BY)
    _tell(order_id, lambda temporal: client.release_hold(temporal, order_id, message))


def _tell(order_id: str, send: Callable[[Client], Awaitable[str]]) -> None:
    from cli.wiring import temporal

    async def sent() -> str:
        async with installation() as settings:
            return await send(await temporal(settings))

    typer.echo(f"{order_id}: {run(sent())}")


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError as error:
        raise NotFound(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Refused(f"{file} is not text") from None


def _print_card(card: OrderCard) -> None:
    screen = console()
    state = card.state
    due = f", promised by {state.promise_by:%Y-%m-%d %H:%M} UTC" if state.promise_by else ""
    screen.print(f"[bold]{state.order_id}[/bold]: {state.status.value}{due}")
    if state.reason:
        screen.print(f"  because {state.reason}")
    for hold in state.holds:
        screen.print(f"  [yellow]held[/yellow] by {hold.owner}: {hold.reason} ({hold.handle})")
    for waiting in state.attention:
        options = ", ".join(waiting.options)
        screen.print(f"  [red]attention[/red] {waiting.code}: {waiting.message} ({options})")
    for share in state.fulfillments:
        units = count(sum(line.quantity for line in share.lines), "unit", "units")
        tracking = ", ".join(package.tracking_number for package in share.packages)
        said = f"{share.status.value}/{share.request.value}"
        screen.print(f"  {share.fulfillment_id}: {units} at {share.node}, {said} {tracking}")
    for event in card.events:
        told = f"{event.at:%m-%d %H:%M:%S} {event.summary}"
        screen.print(f"  [dim]{told} ({event.actor})[/dim]")


def _print_list(found: tuple[OrderSummary, ...]) -> None:
    listed = table("order", "status", "nodes", "attention", "promised by", "placed")
    for one in found:
        promised = f"{one.promise_by:%Y-%m-%d}" if one.promise_by else ""
        listed.add_row(
            one.order_id,
            one.status.value,
            " ".join(one.nodes),
            " ".join(one.attention),
            promised,
            f"{one.placed_at:%Y-%m-%d %H:%M}",
        )
    console().print(listed)
