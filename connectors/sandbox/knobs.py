"""Makes partners misbehave on order: knobs by node, by SKU and by shop, some counted."""

import json
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from connectors.sandbox.config import Frozen
from connectors.sandbox.store import Store


class Behaviour(StrEnum):
    """What a partner does wrong. The first four belong to a call, the others to a request."""

    DEAD = "dead"  # 503 for every call, and nothing is taken in
    LATE = "late"  # does as asked, answers after `ms`
    LOST_ANSWER = "lost_answer"  # shops: does as asked, answers 502
    THROTTLE = "throttle"  # shopify: THROTTLED
    REJECT = "reject"  # a rejected event with `reason`
    REFUSE_422 = "refuse_422"  # 422 to the request itself
    SILENT = "silent"  # takes the request, never says a word; cancel works
    SLOW = "slow"  # ships only after `ms`
    TWICE = "twice"  # each event goes out twice
    OUT_OF_ORDER = "out_of_order"  # shipped before accepted
    SHORT_SHIP = "short_ship"  # one unit fewer, and no more will come
    IN_PARTS = "in_parts"  # one unit first, the rest later
    EXCEPTION = "exception"  # accepted, then an exception instead of a shipment
    SHIPS_DESPITE_CANCEL = "ships_despite_cancel"  # refuses to cancel
    CANCEL_LATER = "cancel_later"  # cancel is pending; the cancelled event comes after `ms`
    SECRET_SHIP = "secret_ship"  # noqa: S105 has shipped at once, says so only after `ms`
    NO_SHOW = "no_show"  # nobody collects


CALL = frozenset({Behaviour.DEAD, Behaviour.LATE, Behaviour.LOST_ANSWER, Behaviour.THROTTLE})
DEFAULT_MS = 3000

Scope = Literal["node", "sku", "shop"]


class Knob(Frozen):
    """`count` limits it to the first so many requests or calls; None is until it is taken away."""

    behaviour: Behaviour
    count: Annotated[int, Field(ge=1)] | None = None
    reason: str = ""
    ms: Annotated[int, Field(ge=0)] = DEFAULT_MS


class Knobs(Frozen):
    """The whole setting of a node, SKU or shop. For a SKU, `node` limits it to one place."""

    behaviours: tuple[Knob, ...] = ()
    node: str = ""


_LIST = TypeAdapter(tuple[Knob, ...])


def put(store: Store, scope: Scope, name: str, knobs: Knobs) -> None:
    """Replace what was set for this name (and, for a SKU, this node)."""
    with store.transaction():
        store.run(
            "DELETE FROM knobs WHERE scope = ? AND name = ? AND node = ?", scope, name, knobs.node
        )
        for knob in knobs.behaviours:
            row = (scope, name, knobs.node, knob.model_dump_json(), knob.count)
            store.run(
                "INSERT INTO knobs (scope, name, node, knob, remaining) VALUES (?,?,?,?,?)", *row
            )


def shown(store: Store) -> list[dict[str, object]]:
    """Every knob that still has effect."""
    rows = store.all("SELECT * FROM knobs WHERE remaining IS NULL OR remaining > 0 ORDER BY id")
    return [{**dict(row), "knob": json.loads(row["knob"])} for row in rows]


def take_for_request(store: Store, node: str, skus: Iterable[str]) -> tuple[Knob, ...]:
    """The knobs that shape one new request at a node; each counts down. Needs a transaction."""
    wanted = json.dumps(sorted(set(skus)))
    rows = store.all(
        "SELECT id, knob FROM knobs WHERE (remaining IS NULL OR remaining > 0) AND"
        " ((scope = 'node' AND name = ?) OR (scope = 'sku' AND node IN ('', ?)"
        " AND name IN (SELECT value FROM json_each(?)))) ORDER BY id",
        node,
        node,
        wanted,
    )
    knobs = [(row["id"], Knob.model_validate_json(row["knob"])) for row in rows]
    ours = [(key, knob) for key, knob in knobs if knob.behaviour not in CALL]
    for key, _ in ours:
        _count_down(store, key)
    return tuple(knob for _, knob in ours)


def take_for_call(store: Store, scope: Scope, name: str) -> dict[Behaviour, Knob]:
    """The knobs that shape one call, whatever it asks; each counts down."""
    rows = store.all(
        "SELECT id, knob FROM knobs WHERE scope = ? AND name = ?"
        " AND (remaining IS NULL OR remaining > 0) ORDER BY id",
        scope,
        name,
    )
    taken: dict[Behaviour, Knob] = {}
    for row in rows:
        knob = Knob.model_validate_json(row["knob"])
        if knob.behaviour in CALL:
            taken[knob.behaviour] = knob
            _count_down(store, row["id"])
    return taken


def dump(knobs: tuple[Knob, ...]) -> str:
    return _LIST.dump_json(knobs).decode()


def parse(text: str) -> dict[Behaviour, Knob]:
    return {knob.behaviour: knob for knob in _LIST.validate_json(text)}


def _count_down(store: Store, key: int) -> None:
    store.run("UPDATE knobs SET remaining = remaining - 1 WHERE id = ?", key)
