"""Answers Crossdock for a node: takes a request in once, cancels it while it still can."""

import sqlite3
from typing import Literal

from pydantic import BaseModel

from connectors.sandbox import knobs, node_steps, outgoing
from connectors.sandbox.knobs import Behaviour
from connectors.sandbox.node_steps import DROPPED, GONE, FulfillmentRequest, Work
from connectors.sandbox.world import World, iso


class CancelAnswer(BaseModel):
    status: Literal["cancelled", "never_received", "refused", "pending"]
    reason: str = ""


def receive(world: World, node: str, wanted: FulfillmentRequest, raw: bytes) -> str:
    """Take a request in, once however often it comes. Why it is refused, or empty."""
    store, fulfillment = world.store, wanted.fulfillment_id
    with store.transaction():
        seen = node_steps.find(world, node, fulfillment)
        if seen is not None:
            store.run(
                "UPDATE node_requests SET times_received = times_received + 1"
                " WHERE node = ? AND fulfillment_id = ?",
                node,
                fulfillment,
            )
            if seen["status"] in {"never_received", "cancelled"}:
                return "it was cancelled"
            return str(seen["reason"]) if seen["status"] == "refused" else ""
        taken = knobs.take_for_request(store, node, (line.sku for line in wanted.lines))
        behaviours = {knob.behaviour: knob for knob in taken}
        refusal = behaviours.get(Behaviour.REFUSE_422)
        reason = (refusal.reason or "we cannot fulfill this") if refusal else ""
        store.run(
            "INSERT INTO node_requests (node, fulfillment_id, order_id, method, status, reason,"
            " received_at, times_received, behaviours, body) VALUES (?,?,?,?,?,?,?,1,?,?)",
            *(node, fulfillment, wanted.order_id, wanted.method),
            "refused" if refusal else "received",
            *(reason, iso(world.now()), knobs.dump(taken), raw.decode()),
        )
        if not refusal:
            node_steps.plan(world, Work(node, wanted, "received", behaviours))
    world.wake.set()
    return reason


def cancel(world: World, node: str, fulfillment: str) -> CancelAnswer:
    """Stop the work if it can still be stopped; the same answer however often it is asked."""
    store, at = world.store, iso(world.now())
    with store.transaction():
        row = node_steps.find(world, node, fulfillment)
        if row is None:
            store.run(
                "INSERT INTO node_requests (node, fulfillment_id, order_id, method, status,"
                " times_received, times_cancelled, cancelled_at, body)"
                " VALUES (?,?,'','','never_received',0,1,?,'')",
                *(node, fulfillment, at),
            )
            return CancelAnswer(status="never_received")
        store.run(
            "UPDATE node_requests SET times_cancelled = times_cancelled + 1"
            " WHERE node = ? AND fulfillment_id = ?",
            *(node, fulfillment),
        )
        answer = _answer(world, row)
        if answer.status == "cancelled" and row["status"] not in DROPPED:
            node_steps.drop(world, node, fulfillment)
        return answer


def release(world: World, node: str) -> int:
    """Let a node say what it holds back and wake what it kept silent on; how many things moved."""
    store, now = world.store, world.now_ms()
    with store.transaction():
        moved = outgoing.release(store, node, now)
        moved += store.run(
            "UPDATE node_steps SET due_ms = min(due_ms, ?) WHERE node = ?", now, node
        )
        for row in store.all(
            "SELECT fulfillment_id FROM node_requests WHERE node = ? AND status = 'received'", node
        ):
            work = node_steps.load(world, node, row["fulfillment_id"])
            if work.behaviours.pop(Behaviour.SILENT, None):
                store.run(
                    "UPDATE node_requests SET behaviours = ? WHERE node = ? AND fulfillment_id = ?",
                    knobs.dump(tuple(work.behaviours.values())),
                    *(node, work.fulfillment_id),
                )
                node_steps.plan(world, work)
                moved += 1
    world.wake.set()
    return moved


def _answer(world: World, row: sqlite3.Row) -> CancelAnswer:
    does, status = knobs.parse(row["behaviours"]), row["status"]
    if status == "never_received":
        return CancelAnswer(status="never_received")
    if status in DROPPED:
        return CancelAnswer(status="cancelled")
    if status in GONE:
        return CancelAnswer(status="refused", reason="it has shipped")
    if Behaviour.SHIPS_DESPITE_CANCEL in does:
        return CancelAnswer(status="refused", reason="it is packed already")
    if Behaviour.CANCEL_LATER in does:
        work = node_steps.load(world, row["node"], row["fulfillment_id"])
        if row["times_cancelled"] == 0:
            node_steps.later(
                world, work, ("cancel", world.now_ms() + does[Behaviour.CANCEL_LATER].ms)
            )
        return CancelAnswer(status="pending")
    return CancelAnswer(status="cancelled")
