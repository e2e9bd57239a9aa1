"""Plays the nodes over HTTP, as docs/node-protocol.md has it: 3PLs, DCs, vendors and stores."""

import asyncio
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError

from connectors.sandbox import knobs, node_work, signing
from connectors.sandbox.knobs import Behaviour
from connectors.sandbox.node_steps import FulfillmentRequest
from connectors.sandbox.world import World

_CANCEL_STATUS: Final = {
    "cancelled": HTTPStatus.OK,
    "never_received": HTTPStatus.NOT_FOUND,
    "refused": HTTPStatus.CONFLICT,
    "pending": HTTPStatus.ACCEPTED,
}


def router(world: World) -> APIRouter:
    routes = APIRouter(prefix="/nodes/{node}/fulfillment-requests", tags=["nodes"])

    @routes.post("")
    async def receive(node: str, request: Request) -> JSONResponse:
        raw = await request.body()
        called = knobs.take_for_call(world.store, "node", node)
        if fault := _fault(world, node, request, raw, called):
            return fault
        answer = _receive(world, node, request.headers["webhook-id"], raw)
        await _tarry(called)
        return answer

    @routes.post("/{fulfillment_id}/cancel")
    async def cancel(node: str, fulfillment_id: str, request: Request) -> JSONResponse:
        raw = await request.body()
        called = knobs.take_for_call(world.store, "node", node)
        if fault := _fault(world, node, request, raw, called):
            return fault
        answer = node_work.cancel(world, node, fulfillment_id)
        world.wake.set()
        await _tarry(called)
        return JSONResponse(answer.model_dump(), _CANCEL_STATUS[answer.status])

    return routes


def _receive(world: World, node: str, message_id: str, raw: bytes) -> JSONResponse:
    try:
        wanted = FulfillmentRequest.model_validate_json(raw)
    except ValidationError as error:
        return _refused(f"cannot be read: {error.errors()[0]['loc']}")
    if (wanted.node, wanted.fulfillment_id) != (node, message_id):
        return _refused("node or webhook-id is not that of the body")
    if reason := node_work.receive(world, node, wanted, raw):
        return _refused(reason)
    return JSONResponse({"status": "received"}, HTTPStatus.ACCEPTED)


def _fault(
    world: World, node: str, request: Request, raw: bytes, called: dict[Behaviour, knobs.Knob]
) -> JSONResponse | None:
    if Behaviour.DEAD in called:
        return JSONResponse({"reason": "out of service"}, HTTPStatus.SERVICE_UNAVAILABLE)
    known = world.config.nodes.get(node)
    if known is None:
        return JSONResponse({"reason": "no such node"}, HTTPStatus.NOT_FOUND)
    now = int(world.now().timestamp())
    if fault := signing.webhook_fault(known.secret, request.headers, raw, now=now):
        return JSONResponse({"reason": fault}, HTTPStatus.UNAUTHORIZED)
    return None


def _refused(reason: str) -> JSONResponse:
    return JSONResponse({"reason": reason}, HTTPStatus.UNPROCESSABLE_ENTITY)


async def _tarry(called: dict[Behaviour, knobs.Knob]) -> None:
    if late := called.get(Behaviour.LATE):
        await asyncio.sleep(late.ms / 1000)
