"""The places that fulfill: what they are, and whether they are up."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Self
from uuid import uuid4

from fastapi import APIRouter, Query, status
from pydantic import Field, model_validator
from sqlalchemy.ext.asyncio import AsyncConnection

from api import examples, problems
from api.answers import NodeChange
from api.intake import tell_node_down, wake_backordered
from api.schemas import Closed, Instant
from api.security import (
    Keeper,
    ReadsNodes,
    WritesNodes,
    actor,
    no_node,
    own_node,
    sees_node,
)
from api.services import Serving
from api.setup import PutNode, PutSecret, Reason
from domain.errors import Invalid
from domain.network import Node
from storage import capacity, network, signals, stock
from storage.database import transaction
from storage.signals import Kind, Signal
from workflows.messages import NodeDown

router = APIRouter(prefix="/v1/nodes", tags=["nodes"])
_MOST_PERCENT = 1000
_MOST_HOURS = 720


class PutSignal(Closed):
    """
    What holds of a node until then. `value` is a `capacity_percent` of its day's limits, or so many
    `lead_hours` that its work is delayed; `offline_for_sourcing` has none.
    """

    model_config = examples.of(
        {
            "kind": "capacity_percent",
            "value": 50,
            "until": "2026-12-24T23:00:00Z",
            "reason": "half the shift is ill",
        }
    )

    kind: Kind
    value: Annotated[int, Field(ge=0, le=_MOST_PERCENT)] = 0
    until: Instant
    reason: Annotated[str, Field(min_length=1, max_length=500)]

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        if self.kind == "capacity_percent" and "value" not in self.model_fields_set:
            raise ValueError("value: say which percent of its capacity the node has")
        if self.kind == "lead_hours" and not 0 < self.value <= _MOST_HOURS:
            raise ValueError(f"value: 1 to {_MOST_HOURS} hours")
        if self.kind == "offline_for_sourcing" and self.value:
            raise ValueError("value: offline_for_sourcing has none; leave it out")
        return self


@router.get("")
async def nodes(access: ReadsNodes, services: Serving) -> tuple[Node, ...]:
    """Every node that this key may see."""
    async with transaction(services.read_engine) as conn:
        return tuple(node for node in await network.nodes(conn) if sees_node(access, node.code))


@router.get("/{code}", responses=problems.documented(404))
async def show(code: str, access: ReadsNodes, services: Serving) -> Node:
    """A node as it was last described, and whether it is up."""
    own_node(access, code)
    async with transaction(services.read_engine) as conn:
        return await _known(conn, code)


@router.put("/{code}", responses=problems.documented(404))
async def put(code: str, body: PutNode, access: WritesNodes, services: Serving) -> Node:
    """Describe a node, new or known. A new one is online; a known one keeps its status."""
    own_node(access, code)
    async with transaction(services.engine) as conn:
        await network.put_node(conn, body.node(code))
        return await _known(conn, code)


@router.put(
    "/{code}/secret", status_code=status.HTTP_204_NO_CONTENT, responses=problems.documented(404)
)
async def secret(
    code: str, body: PutSecret, access: WritesNodes, services: Serving, keeper: Keeper
) -> None:
    """Set what we sign with and verify by. It is stored sealed and never shown."""
    own_node(access, code)
    sealed = services.keyring.seal(body.secret.get_secret_value())
    async with transaction(services.engine) as conn:
        await _known(conn, code)
        await network.put_credential(conn, f"node:{code}", "secret", sealed)
    keeper.forget(f"node:{code}")


@router.post("/{code}/down", responses=problems.documented(404))
async def down(code: str, body: Reason, access: WritesNodes, services: Serving) -> NodeChange:
    """
    Take a node out of use. What it has not shipped is asked back and sourced elsewhere.

    One transaction: the node gets nothing new, and every order with work there will be told.
    """
    own_node(access, code)
    said = NodeDown(node=code, reason=body.reason, by=actor(access))
    async with transaction(services.engine) as conn:
        changed = await stock.set_node_status(conn, code, "offline", said.by, said.reason)
        told = await tell_node_down(conn, said, uuid4().hex) if changed else 0
        node = await _known(conn, code)
    return NodeChange(node=node, changed=changed, orders=told)


@router.post("/{code}/up", responses=problems.documented(404))
async def up(code: str, body: Reason, access: WritesNodes, services: Serving) -> NodeChange:
    """Put a node back into use. Orders that wait for what it has try again."""
    own_node(access, code)
    async with transaction(services.engine) as conn:
        changed = await stock.set_node_status(conn, code, "online", actor(access), body.reason)
        skus = set(await stock.skus_at(conn, code)) if changed else set()
        woken = await wake_backordered(conn, skus, uuid4().hex)
        node = await _known(conn, code)
    return NodeChange(node=node, changed=changed, orders=woken)


@router.get("/{code}/capacity", responses=problems.documented(404))
async def taken(
    code: str,
    access: ReadsNodes,
    services: Serving,
    day: Annotated[date | None, Query(description="of the node's own calendar; else today")] = None,
) -> capacity.Day:
    """What a node has taken on for a day, and what it may still take."""
    own_node(access, code)
    async with transaction(services.read_engine) as conn:
        return await capacity.on(conn, code, day)


@router.get("/{code}/signals", responses=problems.documented(404))
async def standing(code: str, access: ReadsNodes, services: Serving) -> tuple[Signal, ...]:
    """What holds of a node for now."""
    own_node(access, code)
    async with transaction(services.read_engine) as conn:
        await _known(conn, code)
        return await signals.standing(conn, code)


@router.put("/{code}/signals", responses=problems.documented(404))
async def signal(
    code: str, body: PutSignal, access: WritesNodes, services: Serving
) -> tuple[Signal, ...]:
    """Say what holds of a node until an instant, in place of what was said of that kind."""
    own_node(access, code)
    if body.until <= services.clock():
        raise Invalid("until: is over; DELETE ends a signal before its time")
    said = Signal.model_validate(body.model_dump())
    async with transaction(services.engine) as conn:
        await signals.put(conn, code, said, actor(access))
        return await signals.standing(conn, code)


@router.delete("/{code}/signals/{kind}", responses=problems.documented(404))
async def end_signal(
    code: str, kind: Kind, access: WritesNodes, services: Serving
) -> tuple[Signal, ...]:
    """End a signal before its time. Orders that wait for what the node has try again."""
    own_node(access, code)
    async with transaction(services.engine) as conn:
        if await signals.end(conn, code, kind, actor(access)):
            await wake_backordered(conn, await stock.skus_at(conn, code), uuid4().hex)
        return await signals.standing(conn, code)


async def _known(conn: AsyncConnection, code: str) -> Node:
    found = await network.node(conn, code)
    if found is None:
        raise no_node(code)
    return found
