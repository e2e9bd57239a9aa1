"""Nodes: list them, take one down with its work in hand, take it up again."""

from __future__ import annotations

from typing import Annotated, Final
from uuid import uuid4

import typer

from cli.printing import console, table
from cli.target import run
from domain.errors import NotFound
from domain.network import Node
from domain.sourcing.words import count

_BY: Final = "crossdock node"
Code = Annotated[str, typer.Argument(help="The node's code.")]

nodes = typer.Typer(no_args_is_help=True, help="List nodes, take them down and up.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(nodes, name="node", rich_help_panel="Operations")


@nodes.command(name="list")
def show() -> None:
    """List the nodes."""
    listed = table("code", "name", "kind", "status", "ships", "pickup", "orders/day", "units/day")
    for node in run(_nodes()):
        status = node.status if node.status == "online" else f"[red]{node.status}[/red]"
        limits = (node.capacity_per_day, node.units_per_day)
        capacity = ("" if limit is None else str(limit) for limit in limits)
        does = ("yes" if node.ships else "", "yes" if node.pickup else "")
        listed.add_row(node.code, node.name, node.kind.value, status, *does, *capacity)
    console().print(listed)


@nodes.command()
def down(code: Code, reason: Annotated[str, typer.Option()] = "taken down by the operator") -> None:
    """Take a node out of use; what it has not shipped is asked back and sourced elsewhere."""
    told = run(_down(code, reason))
    orders = "order with work there is" if told == 1 else "orders with work there are"
    typer.echo(f"{code} is offline; {told} {orders} told")


@nodes.command()
def up(code: Code, reason: Annotated[str, typer.Option()] = "back in use") -> None:
    """Put a node back into use; orders that wait for what it has try again."""
    woken = run(_up(code, reason))
    orders = count(woken, "backordered order tries", "backordered orders try")
    typer.echo(f"{code} is online; {orders} again")


async def _nodes() -> tuple[Node, ...]:
    from cli.wiring import conversation
    from storage import network

    async with conversation(start=("postgres",), read_only=True) as conn:
        return await network.nodes(conn)


async def _down(code: str, reason: str) -> int:
    from api.intake import tell_node_down
    from cli.wiring import conversation
    from storage import network, stock
    from workflows.messages import NodeDown

    said = NodeDown(node=code, reason=reason, by=_BY)
    async with conversation() as conn:
        if await network.node(conn, code) is None:
            raise NotFound(f"no node {code}")
        changed = await stock.set_node_status(conn, code, "offline", _BY, reason)
        return await tell_node_down(conn, said, uuid4().hex) if changed else 0


async def _up(code: str, reason: str) -> int:
    from api.intake import wake_backordered
    from cli.wiring import conversation
    from storage import network, stock

    async with conversation() as conn:
        if await network.node(conn, code) is None:
            raise NotFound(f"no node {code}")
        changed = await stock.set_node_status(conn, code, "online", _BY, reason)
        skus = await stock.skus_at(conn, code) if changed else []
        return await wake_backordered(conn, skus, uuid4().hex)
