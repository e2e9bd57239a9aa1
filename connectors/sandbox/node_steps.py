"""Does a node's work step by step: accepts, ships, delivers, and says so to Crossdock."""

import hashlib
import json
import random
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Final, Literal
from urllib.parse import quote

from pydantic import BaseModel, Field

from connectors.sandbox import knobs, outgoing
from connectors.sandbox.knobs import Behaviour, Knob
from connectors.sandbox.world import World, iso

GONE: Final = frozenset({"partly_shipped", "shipped", "delivered", "collected"})
DROPPED: Final = frozenset({"cancelled", "rejected", "refused", "exception"})
AT_WORK: Final = frozenset({"received", "accepted", "partly_shipped"})


class Line(BaseModel):
    line_id: str
    sku: str
    quantity: Annotated[int, Field(ge=1)]


class FulfillmentRequest(BaseModel):
    """What Crossdock asks; the parts a node needs to work."""

    fulfillment_id: Annotated[str, Field(min_length=1)]
    order_id: str
    node: str
    method: Literal["ship", "pickup"]
    service: str = ""
    lines: Annotated[tuple[Line, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Work:
    """A fulfillment as the node holds it."""

    node: str
    wanted: FulfillmentRequest
    status: str
    behaviours: dict[Behaviour, Knob]

    @property
    def fulfillment_id(self) -> str:
        return self.wanted.fulfillment_id


def plan(world: World, work: Work) -> None:
    """What the node will do with a request, and when. Needs a transaction."""
    does, pace = work.behaviours, world.config.pace
    if Behaviour.SILENT in does:
        return
    chance = random.Random(f"{world.config.seed}:{work.node}:{work.fulfillment_id}")  # noqa: S311
    accept = world.now_ms() + chance.randint(*pace.accept_ms)
    ship = accept + (
        does[Behaviour.SLOW].ms if Behaviour.SLOW in does else chance.randint(*pace.ship_ms)
    )
    deliver = ship + chance.randint(*pace.deliver_ms)
    if Behaviour.REJECT in does:
        later(world, work, ("reject", accept))
    elif Behaviour.EXCEPTION in does:
        later(world, work, ("accept", accept), ("exception", ship))
    elif work.wanted.method == "pickup":
        later(world, work, ("accept", accept), ("ready", ship))
        if Behaviour.NO_SHOW not in does:
            later(world, work, ("collect", deliver))
    elif Behaviour.SECRET_SHIP in does:
        _ship(world, work)
        later(world, work, ("accept", accept))
        later(world, work, ("deliver", deliver + does[Behaviour.SECRET_SHIP].ms))
    elif Behaviour.OUT_OF_ORDER in does:
        later(world, work, ("ship", accept), ("accept", ship), ("deliver", deliver))
    elif Behaviour.IN_PARTS in does:
        later(world, work, ("accept", accept), ("ship_one", ship), ("ship", deliver))
        later(world, work, ("deliver", deliver + chance.randint(*pace.deliver_ms)))
    else:
        later(world, work, ("accept", accept), ("ship", ship), ("deliver", deliver))


def perform_due(world: World) -> None:
    """Do every step whose time has come, each in a transaction with what it says."""
    rows = world.store.all(
        "SELECT * FROM node_steps WHERE due_ms <= ? ORDER BY due_ms, id", world.now_ms()
    )
    for row in rows:
        with world.store.transaction():
            world.store.run("DELETE FROM node_steps WHERE id = ?", row["id"])
            _STEPS[row["step"]](world, load(world, row["node"], row["fulfillment_id"]))


def handed_over(world: World, node: str, fulfillment: str) -> None:
    """Crossdock agreed to a hand-over: the units are with the customer. Needs a transaction."""
    work = load(world, node, fulfillment)
    if work.status != "collected":
        _leave(world, work, _remaining(world, work), "")
        _become(world, work, "collected")


def is_waiting(world: World, node: str, fulfillment: str) -> bool:
    """Whether the goods still lie at the counter."""
    row = find(world, node, fulfillment)
    return row is not None and row["status"] == "ready_for_pickup"


def find(world: World, node: str, fulfillment: str) -> sqlite3.Row | None:
    """The row of node_requests, if the node ever heard of it."""
    return world.store.one(
        "SELECT * FROM node_requests WHERE node = ? AND fulfillment_id = ?", node, fulfillment
    )


def load(world: World, node: str, fulfillment: str) -> Work:
    """Work that was taken in. Raises LookupError."""
    row = find(world, node, fulfillment)
    if row is None:
        raise LookupError(f"{node} has no work {fulfillment}")
    wanted = FulfillmentRequest.model_validate_json(row["body"])
    return Work(node, wanted, row["status"], knobs.parse(row["behaviours"]))


def drop(world: World, node: str, fulfillment: str) -> None:
    """Cancel: nothing more will be done. Needs a transaction."""
    world.store.run(
        "UPDATE node_requests SET status = 'cancelled', cancelled_at = ?"
        " WHERE node = ? AND fulfillment_id = ?",
        *(iso(world.now()), node, fulfillment),
    )
    world.store.run(
        "DELETE FROM node_steps WHERE node = ? AND fulfillment_id = ?", node, fulfillment
    )


def later(world: World, work: Work, *steps: tuple[str, int]) -> None:
    """Plan steps, each at its time in milliseconds. Needs a transaction."""
    for step, due_ms in steps:
        world.store.run(
            "INSERT INTO node_steps (node, fulfillment_id, step, due_ms) VALUES (?,?,?,?)",
            *(work.node, work.fulfillment_id, step, due_ms),
        )


def _accept(world: World, work: Work) -> None:
    if work.status in DROPPED | {"never_received"}:
        return
    if work.status == "received":
        _become(world, work, "accepted")
    _tell(world, work, "accepted")


def _reject(world: World, work: Work) -> None:
    if work.status == "received":
        reason = work.behaviours[Behaviour.REJECT].reason or "out of stock"
        _become(world, work, "rejected", reason)
        _tell(world, work, "rejected", reason=reason)


def _fail(world: World, work: Work, reason: str = "") -> None:
    if work.status in AT_WORK:
        knob = work.behaviours.get(Behaviour.EXCEPTION)
        reason = reason or (knob.reason if knob else "") or "damaged while picking"
        _become(world, work, "exception", reason)
        _tell(world, work, "exception", reason=reason)


def _ship_one(world: World, work: Work) -> None:
    remaining = _remaining(world, work)
    if work.status in AT_WORK and sum(line.quantity for line in remaining) > 1:
        first = [remaining[0].model_copy(update={"quantity": 1})]
        _become(world, work, "partly_shipped")
        _tell_shipped(world, work, first, part=1, final=False)


def _ship(world: World, work: Work) -> None:
    if work.status not in AT_WORK:
        return
    leaving = _remaining(world, work)
    if Behaviour.SHORT_SHIP in work.behaviours:
        leaving = _one_fewer(leaving)
    if not leaving:
        _fail(world, work, "none found at the shelf")
        return
    _become(world, work, "shipped")
    _tell_shipped(world, work, leaving, part=2 if work.status == "partly_shipped" else 1)


def _deliver(world: World, work: Work) -> None:
    if work.status == "shipped":
        _become(world, work, "delivered")
        _tell(world, work, "delivered")


def _ready(world: World, work: Work) -> None:
    if work.status in AT_WORK:
        _become(world, work, "ready_for_pickup")
        _tell(world, work, "ready_for_pickup")


def _collect(world: World, work: Work) -> None:
    """The customer comes: Crossdock is asked first where the store has a key, else told after."""
    if work.status != "ready_for_pickup":
        return
    if not world.config.nodes[work.node].api_key:
        handed_over(world, work.node, work.fulfillment_id)
        _tell(world, work, "collected")
        return
    message = outgoing.Message(
        kind=outgoing.Kind.HAND_OVER,
        sender=work.node,
        subject=work.fulfillment_id,
        message_id=_identity(work, "hand_over"),
        path=f"/v1/fulfillments/{quote(work.fulfillment_id, safe='')}/hand-over",
        body=b"{}",
        due_ms=world.now_ms(),
    )
    outgoing.put(world.store, message)


def _cancel(world: World, work: Work) -> None:
    if work.status not in GONE | DROPPED:
        drop(world, work.node, work.fulfillment_id)
        _tell(world, work, "cancelled")


_STEPS: Final[dict[str, Callable[[World, Work], None]]] = {
    "accept": _accept,
    "reject": _reject,
    "exception": _fail,
    "ship_one": _ship_one,
    "ship": _ship,
    "deliver": _deliver,
    "ready": _ready,
    "collect": _collect,
    "cancel": _cancel,
}


def _tell_shipped(
    world: World, work: Work, lines: list[Line], *, part: int, final: bool = True
) -> None:
    tracking = "1Z" + _identity(work, f"package-{part}")[4:20].upper()
    _leave(world, work, lines, tracking)
    _tell(
        world,
        work,
        "shipped",
        part=part,
        lines=[{"line_id": line.line_id, "quantity": line.quantity} for line in lines],
        packages=[{"tracking_number": tracking, "carrier": "ups", "service": work.wanted.service}],
        final=final,
    )


def _tell(
    world: World, work: Work, event: str, *, part: int = 1, reason: str = "", **parts: object
) -> None:
    event_id = _identity(work, f"{event}-{part}")
    body = {
        "event_id": event_id,
        "fulfillment_id": work.fulfillment_id,
        "type": event,
        "occurred_at": iso(world.now()),
        "reason": reason,
        **parts,
    }
    hold = work.behaviours.get(Behaviour.SECRET_SHIP) if event == "shipped" else None
    message = outgoing.Message(
        kind=outgoing.Kind.NODE_EVENT,
        sender=work.node,
        subject=work.fulfillment_id,
        message_id=event_id,
        path=f"/webhooks/nodes/{work.node}",
        body=json.dumps(body, separators=(",", ":")).encode(),
        due_ms=world.now_ms() + (hold.ms if hold else 0),
    )
    for _ in range(2 if Behaviour.TWICE in work.behaviours else 1):
        outgoing.put(world.store, message)


def _leave(world: World, work: Work, lines: Iterable[Line], tracking: str) -> None:
    at = iso(world.now())
    for line in lines:
        row = (work.node, work.fulfillment_id, line.line_id, line.sku, line.quantity, tracking, at)
        world.store.run("INSERT INTO node_shipments VALUES (?,?,?,?,?,?,?)", *row)


def _remaining(world: World, work: Work) -> list[Line]:
    rows = world.store.all(
        "SELECT line_id, sum(quantity) AS gone FROM node_shipments"
        " WHERE node = ? AND fulfillment_id = ? GROUP BY line_id",
        *(work.node, work.fulfillment_id),
    )
    gone = {row["line_id"]: row["gone"] for row in rows}
    left = ((line, line.quantity - gone.get(line.line_id, 0)) for line in work.wanted.lines)
    return [line.model_copy(update={"quantity": q}) for line, q in left if q > 0]


def _one_fewer(lines: list[Line]) -> list[Line]:
    last = lines[-1]
    fewer = [last.model_copy(update={"quantity": last.quantity - 1})] if last.quantity > 1 else []
    return lines[:-1] + fewer


def _become(world: World, work: Work, status: str, reason: str = "") -> None:
    world.store.run(
        "UPDATE node_requests SET status = ?, reason = ? WHERE node = ? AND fulfillment_id = ?",
        *(status, reason, work.node, work.fulfillment_id),
    )


def _identity(work: Work, what: str) -> str:
    """The same for ever for one thing said of one fulfillment."""
    seed = f"{work.node}:{work.fulfillment_id}:{what}".encode()
    return "evt_" + hashlib.sha256(seed).hexdigest()[:24]
