"""The places that fulfill: what they are, and whether they are up."""

from __future__ import annotations

from uuid import uuid4

from fastapi import APIRouter, status
from sqlalchemy.ext.asyncio import AsyncConnection

from api import problems
from api.answers import NodeChange
from api.intake import tell_node_down, wake_backordered
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
from domain.network import Node
from storage import network, stock
from storage.database import transaction
from workflows.messages import NodeDown

router = APIRouter(prefix="/v1/nodes", tags=["nodes"])


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


async def _known(conn: AsyncConnection, code: str) -> Node:
    found = await network.node(conn, code)
    if found is None:
        raise no_node(code)
    return found
