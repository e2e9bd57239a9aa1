"""
A decision as bytes: what is its own, and pieces that many decisions share, named by their content.

Nothing here knows the fields of a problem one by one: whatever a value has is kept, column by
column, and comes back as it was.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple

from domain.network import Node, RateCard
from domain.orders import Address, DeliveryMethod
from domain.promises import Promise
from domain.sourcing.problem import Decision, Plan, Problem
from domain.values import Value

FORMAT: Final = 1
# What of a candidate changes with every decision; all else is the node's own and is shared. A field
# that is missing here costs space, and nothing else.
OF_THE_DECISION: Final = frozenset(
    {
        *("miles", "stock", "capacity_left", "units_left", "options", "eliminated"),
        *("labour_minor", "open_orders", "stock_minor", "goods_minor"),
    }
)
# What of a problem is the same for many orders; of its rules, all but whom they hold for.
OF_THE_HOUSE: Final = frozenset(
    {"currency", "split_fee_minor", "late_day_minor", "policy", "prices"}
)
OF_THE_ORDER: Final = frozenset({"nodes", "lines"})


class Seen(Value):
    """
    What the problem was made from, as far as it can tell more than the problem itself: a node that
    was out has no services in the problem, and these say what they would have been.
    """

    nodes: tuple[Node, ...]
    rate_cards: tuple[RateCard, ...]
    ship_to: Address
    method: DeliveryMethod = DeliveryMethod.SHIP


class Quoted(Value):
    """A promise that the order claimed, and when it came: what could still be kept of it."""

    promise: Promise
    came: datetime


class Record(Value):
    """
    A decision with all that it read: the problem is in the decision, and decides alone but for a
    promise, where there was one.
    """

    decision: Decision
    quoted: Quoted | None = None
    seen: Seen | None = None


class Piece(NamedTuple):
    """Canonical JSON; `name` is its SHA-256."""

    name: bytes
    body: bytes


class Packed(NamedTuple):
    """
    `own` is what no other decision has; `pieces` what it shares, in the order of its mention.

    `clear` repeats of the plan what is summed by SQL: what each package and all of it costs.
    """

    clear: dict[str, Any]
    own: bytes
    pieces: tuple[Piece, ...]


def pack(record: Record) -> Packed:
    """The record in its stored form; the same record gives the same pieces."""
    tree = record.decision.model_dump(mode="json")
    problem = tree.pop("problem")
    candidates, constraints = problem.pop("candidates"), problem["policy"]["constraints"]
    order = [candidate["node"] for candidate in candidates]
    problem["policy"]["constraints"] = [_but(rule, OF_THE_ORDER) for rule in constraints]
    shared = {
        "house": {name: problem.pop(name) for name in sorted(OF_THE_HOUSE & problem.keys())},
        "candidates": _columns([_but(c, OF_THE_DECISION) for c in candidates]),
    }
    own = {
        "format": FORMAT,
        "problem": problem | {"demands": _columns(problem["demands"])},
        "candidates": _columns([_only(c, OF_THE_DECISION) for c in candidates]),
        "rules": _columns([_placed(_only(rule, OF_THE_ORDER), order) for rule in constraints]),
        "decision": tree
        | {
            "plan": _flat(tree["plan"]),
            "runner_up": _flat(tree["runner_up"]),
            "eliminated": _reasons(tree["eliminated"], order),
        },
    }
    if record.quoted is not None:
        own["quoted"] = record.quoted.model_dump(mode="json")
    if (seen := record.seen) is not None:
        shared["nodes"] = seen.model_dump(mode="json", include={"nodes"})["nodes"]
        shared["rates"] = seen.model_dump(mode="json", include={"rate_cards"})["rate_cards"]
        place = seen.ship_to.model_dump(include={"country", "region", "postal_code"})
        own["seen"] = {"ship_to": place, "method": seen.method}
    bodies = {kind: canonical(part) for kind, part in shared.items()}
    own["pieces"] = list(bodies)
    return Packed(
        clear=summed(record.decision.plan),
        own=zlib.compress(canonical(own), 9),
        pieces=tuple(Piece(sha256(body).digest(), body) for body in bodies.values()),
    )


def unpack(own: bytes, pieces: Sequence[bytes]) -> Record:
    """What `pack` was given. `pieces` are their bodies, in the order of their mention."""
    tree = json.loads(zlib.decompress(own))
    shared = dict(zip(tree["pieces"], map(json.loads, pieces), strict=True))
    nodes = _rows(shared["candidates"])
    candidates = [a | b for a, b in zip(nodes, _rows(tree["candidates"]), strict=True)]
    order = [candidate["node"] for candidate in candidates]
    policy, decision = shared["house"]["policy"], tree["decision"]
    whom = [_named(row, order) for row in _rows(tree["rules"])]
    rules = [a | b for a, b in zip(policy["constraints"], whom, strict=True)]
    problem = {
        **tree["problem"],
        **shared["house"],
        "demands": _rows(tree["problem"]["demands"]),
        "candidates": candidates,
        "policy": policy | {"constraints": rules},
    }
    whole = {
        **decision,
        "problem": problem,
        "plan": _full(decision["plan"]),
        "runner_up": _full(decision["runner_up"]),
        "eliminated": _told(decision["eliminated"], order),
    }
    seen = None
    if "seen" in tree:
        seen = {**tree["seen"], "nodes": shared["nodes"], "rate_cards": shared["rates"]}
    said = {"decision": whole, "quoted": tree.get("quoted"), "seen": seen}
    return Record.model_validate(said)


def summed(plan: Plan) -> dict[str, Any]:
    """What is kept of a plan in the clear."""
    packages = [p.model_dump(include={"node", "service", "cost"}) for p in plan.assignments]
    return {"plan": {"assignments": packages, "cost": plan.cost.model_dump()}}


def canonical(tree: Any) -> bytes:
    """JSON with one spelling: equal trees are equal bytes."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(problem: Problem) -> str:
    """The name of all that a solver read: equal problems have the same."""
    return sha256(canonical(problem.model_dump(mode="json"))).hexdigest()


def _only(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: row[name] for name in sorted(names) if name in row}


def _but(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return _only(row, row.keys() - names)


def _placed(rule: dict[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """Its nodes by the candidates' places; of those that are no candidate by name."""
    if rule["nodes"] is None:
        return rule
    place = {node: number for number, node in enumerate(order)}
    return rule | {"nodes": [place.get(node, node) for node in rule["nodes"]]}


def _named(rule: dict[str, Any], order: Sequence[str]) -> dict[str, Any]:
    if rule["nodes"] is None:
        return rule
    return rule | {"nodes": [order[n] if isinstance(n, int) else n for n in rule["nodes"]]}


def _flat(plan: dict[str, Any] | None) -> dict[str, Any] | None:
    return plan and plan | {"assignments": _columns(plan["assignments"])}


def _full(plan: dict[str, Any] | None) -> dict[str, Any] | None:
    return plan and plan | {"assignments": _rows(plan["assignments"])}


def _reasons(eliminated: Mapping[str, str], order: Sequence[str]) -> dict[str, Any]:
    """By the candidates' places; of those that are no candidate (there are none) by name."""
    place = {node: number for number, node in enumerate(order)}
    names = [place.get(node, node) for node in eliminated]
    return {"nodes": names, "reasons": _column(list(eliminated.values()))}


def _told(packed: Mapping[str, Any], order: Sequence[str]) -> dict[str, str]:
    names = [order[n] if isinstance(n, int) else n for n in packed["nodes"]]
    return dict(zip(names, _cells(packed["reasons"], len(names)), strict=True))


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows of the same fields, turned: one column for each field."""
    names = sorted(rows[0]) if rows else []
    return {"n": len(rows), "of": {name: _column([row[name] for row in rows]) for name in names}}


def _rows(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    count = table["n"]
    cells = {name: _cells(column, count) for name, column in table["of"].items()}
    return [{name: column[n] for name, column in cells.items()} for n in range(count)]


def _column(cells: Sequence[Any]) -> Any:
    """
    Said once where all are equal; by number where they repeat; tables and maps again by column.
    """
    keys = [repr(cell) for cell in cells]
    distinct = dict(zip(keys, cells, strict=True))
    if len(distinct) == 1:
        return {"all": cells[0]}
    if all(isinstance(cell, dict) and None not in cell.values() for cell in cells):
        names = sorted({name for cell in cells for name in cell})
        return {"maps": {name: _column([cell.get(name) for cell in cells]) for name in names}}
    if _tables(cells):
        rows = [row for cell in cells for row in cell]
        return {"sizes": [len(cell) for cell in cells], "rows": _columns(rows)}
    if not all(isinstance(cell, int) for cell in cells) and len(distinct) < len(cells):
        number = {name: n for n, name in enumerate(distinct)}
        return {"of": list(distinct.values()), "at": [number[key] for key in keys]}
    return list(cells)


def _tables(cells: Sequence[Any]) -> bool:
    """Whether each is a list of rows, and all these have the same fields."""
    if not all(isinstance(cell, list) for cell in cells):
        return False
    rows = [row for cell in cells for row in cell]
    return bool(rows) and all(
        isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows
    )


def _cells(column: Any, count: int) -> list[Any]:
    if isinstance(column, list):
        return column
    if "all" in column:
        return [column["all"]] * count
    if "maps" in column:
        cells: list[dict[str, Any]] = [{} for _ in range(count)]
        for name, values in column["maps"].items():
            for cell, value in zip(cells, _cells(values, count), strict=True):
                if value is not None:
                    cell[name] = value
        return cells
    if "sizes" in column:
        rows = iter(_rows(column["rows"]))
        return [[next(rows) for _ in range(size)] for size in column["sizes"]]
    return [column["of"][n] for n in column["at"]]
