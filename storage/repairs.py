"""
Repairs of rows that are wrong: found anew under locks, made or proposed, and kept on record.

A repair writes one row as what is redundant says that it is to be. What changes how many units the
ledger tells of is a movement of its own, whose cause names the repair.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Row, Table, insert, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Conflict, NotFound
from domain.values import Value
from storage import ledger
from storage.audit.copies import matches
from storage.audit.sources import BY_KIND
from storage.audit.wrong import Image, Scope, Wrong
from storage.tables import metadata, repairs

Policy = Literal["apply", "propose"]
Status = Literal["proposed", "applied", "refused", "gone"]
AUDITOR: Final = "auditor"

# What follows from other rows, and what was kept twice, is written as it was. What says whose the
# units are, how many there are, or which node may sell them, is a person's to decide.
POLICIES: Final[Mapping[str, Policy]] = {
    **dict.fromkeys(("pool", "node_capacity", "stock_exceptions", "operations"), "apply"),
    **dict.fromkeys(("feed_positions", "feed_deltas", "stock_loads", "copies"), "apply"),
    **dict.fromkeys(("stock_rules", "stock_rule_log", "stock_watches"), "apply"),
    **dict.fromkeys(("stock_events", "node_log", "node_signals", "reservation_requests"), "apply"),
    **dict.fromkeys(("supplies", "backorders", "backorder_lines", "supply_claims"), "apply"),
    **dict.fromkeys(("stock", "movements", "nodes"), "propose"),
    **dict.fromkeys(("reservations", "reservation_lines"), "propose"),
    **dict.fromkeys(("allocations", "allocation_lines"), "propose"),
}


class Repair(Value):
    """
    A wrong row: what it was (`before`, null: not there) and is, or is to be (`after`, null: gone).

    `gone`: the row was right again when it was to be mended.
    """

    id: int
    kind: str
    table: str
    key: dict[str, Any]
    finding: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    policy: Policy
    status: Status
    actor: str
    note: str
    at: datetime
    decided_at: datetime | None
    decided_by: str | None


async def look(conn: AsyncConnection, kind: str, scope: Scope) -> list[Wrong]:
    """The rows that one source of truth finds wrong."""
    return await BY_KIND[kind].find(conn, scope)


async def settle(
    conn: AsyncConnection, kind: str, wrong: Wrong, policies: Mapping[str, Policy]
) -> Repair | None:
    """
    Mend a row, or propose to, as the policy for its table says; what is not sure is proposed.

    None where it is right once it is locked, or where this repair was refused before. Proposed
    already, it is answered as it stands.
    """
    policy = policies[wrong.relation] if wrong.sure else "propose"
    r = repairs.c
    same = (r.kind == kind, r.relation == wrong.relation, r.key == dict(wrong.key))
    known = (await conn.execute(select(r.id).where(*same, r.status == "proposed"))).scalar()
    if known is not None:
        return await (apply(conn, known, AUDITOR) if policy == "apply" else one(conn, known))
    await _lock(conn, kind, wrong)
    again = await _again(conn, kind, wrong)
    if again is None:
        return None
    query = select(r.after).where(*same, r.status == "refused").order_by(r.id.desc()).limit(1)
    refused = (await conn.execute(query)).first()
    if refused is not None and refused.after == again.after:
        return None
    row = {**_images(again), "kind": kind, "relation": wrong.relation, "key": dict(wrong.key)}
    made = insert(repairs).values(**row, policy=policy, actor=AUDITOR).returning(r.id)
    number = (await conn.execute(made)).scalar_one()
    if policy == "apply":
        await _make(conn, number, again, AUDITOR)
    return await one(conn, number)


async def apply(conn: AsyncConnection, number: int, actor: str) -> Repair:
    """
    Make a proposed repair, as it is to be made now; made already, it is answered.

    Raises NotFound, Conflict(repair_decided) where it was refused or gone.
    """
    repair = await _open(conn, number, "applied")
    if repair.status != "proposed":
        return repair
    wrong = Wrong(repair.table, repair.key, repair.finding, repair.before, repair.after)
    await _lock(conn, repair.kind, wrong)
    again = await _again(conn, repair.kind, wrong)
    if again is None:
        await _decide(conn, number, "gone", actor, note="the row was right again")
    else:
        await _make(conn, number, again, actor)
    return await one(conn, number)


async def refuse(conn: AsyncConnection, number: int, actor: str, note: str = "") -> Repair:
    """Leave the row as it is. The finding stays. Raises as `apply` does."""
    repair = await _open(conn, number, "refused")
    if repair.status == "proposed":
        await _decide(conn, number, "refused", actor, note=note)
    return await one(conn, number)


async def one(conn: AsyncConnection, number: int) -> Repair:
    """Raises NotFound."""
    row = (await conn.execute(select(repairs).where(repairs.c.id == number))).first()
    if row is None:
        raise NotFound(f"there is no repair {number}")
    return _repair(row)


async def listed(
    conn: AsyncConnection, *, status: Status | None = None, after: int = 0, limit: int = 100
) -> tuple[Repair, ...]:
    """The oldest first."""
    query = select(repairs).where(repairs.c.id > after).order_by(repairs.c.id).limit(limit)
    if status is not None:
        query = query.where(repairs.c.status == status)
    return tuple(_repair(row) for row in await conn.execute(query))


async def _open(conn: AsyncConnection, number: int, wanted: Status) -> Repair:
    locked = select(repairs).where(repairs.c.id == number).with_for_update()
    row = (await conn.execute(locked)).first()
    if row is None:
        raise NotFound(f"there is no repair {number}")
    if row.status not in {"proposed", wanted}:
        raise Conflict(f"repair {number} is {row.status}", code="repair_decided")
    return _repair(row)


async def _again(conn: AsyncConnection, kind: str, wrong: Wrong) -> Wrong | None:
    scope = Scope(wrong.skus or None, wrong.relation, wrong.key)
    if kind == "copy" and _moves(wrong):  # the row that is gone has another key
        scope = Scope(relation=wrong.relation)
    found = await look(conn, kind, scope)
    same = (w for w in found if (w.relation, dict(w.key)) == (wrong.relation, dict(wrong.key)))
    return next(same, None)


async def _lock(conn: AsyncConnection, kind: str, wrong: Wrong) -> None:
    """
    In the order of `ledger`: the claim, the nodes, the pool and all shelves of its SKUs.

    A second copy is written by who has locked its row; so a row that is kept twice is all there is
    to lock for itself.
    """
    image = {**(wrong.before or {}), **(wrong.after or {}), **wrong.key}
    for claim, name in (("reservations", "reservation_id"), ("allocations", "fulfillment_id")):
        if name in image:
            query = f"SELECT FROM {claim} WHERE {name} = :id FOR UPDATE"
            await conn.execute(text(query), {"id": image[name]})
    if kind == "copy":
        table = metadata.tables[wrong.relation]
        query = f"SELECT FROM {table.name} AS t WHERE {matches(table, 't', ':key')} FOR UPDATE"
        await conn.execute(text(query), {"key": json.dumps(dict(wrong.key))})
        return
    asked = {"skus": sorted(wrong.skus)}
    await conn.execute(text("SELECT FROM nodes ORDER BY code FOR SHARE"))
    await ledger.lock_pool(conn, asked["skus"])
    query = "SELECT FROM stock WHERE sku = ANY(:skus) ORDER BY sku, node FOR UPDATE"
    await conn.execute(text(query), asked)


async def _make(conn: AsyncConnection, number: int, wrong: Wrong, actor: str) -> None:
    """What a constraint does not let be stays proposed, and says so."""
    after = wrong.after
    if wrong.relation == "movements" and wrong.before is None and after is not None:
        cause = f"repair {number}: {wrong.finding}"
        after = {**after, "cause": cause, "actor": actor}
    try:
        async with conn.begin_nested():
            await conn.execute(text("SELECT set_config('crossdock.repair', :of, true)"),
                               {"of": str(number)})  # fmt: skip
            await _write(conn, metadata.tables[wrong.relation], wrong, after)
            await conn.execute(text("SELECT set_config('crossdock.repair', '', true)"))
    except IntegrityError as error:
        note = f"cannot be: {str(error.orig).splitlines()[0]}"
        await conn.execute(update(repairs).where(repairs.c.id == number).values(note=note))
        return
    await _decide(conn, number, "applied", actor, **_images(wrong._replace(after=after)))


async def _write(conn: AsyncConnection, table: Table, wrong: Wrong, after: Image | None) -> None:
    if after is None or _moves(wrong):
        query = f"DELETE FROM {table.name} AS t WHERE {matches(table, 't', ':key')}"  # noqa: S608
        await conn.execute(text(query), {"key": json.dumps(dict(wrong.key))})
    if after is None:
        return
    keys = [column.name for column in table.primary_key]
    names = [column.name for column in table.columns if column.name in after]
    said = ", ".join(f"{name} = excluded.{name}" for name in names if name not in keys)
    columns = ", ".join(names)
    query = (
        f"INSERT INTO {table.name} ({columns}) SELECT {columns}"  # noqa: S608
        f" FROM jsonb_populate_record(NULL::{table.name}, CAST(:row AS jsonb))"
        f" ON CONFLICT ({', '.join(keys)}) DO UPDATE SET {said}"
    )
    await conn.execute(text(query), {"row": json.dumps(dict(after))})


def _moves(wrong: Wrong) -> bool:
    """Whether the row is to have another key."""
    if wrong.before is None or wrong.after is None:
        return False
    keys = [column.name for column in metadata.tables[wrong.relation].primary_key]
    return any(wrong.after.get(name) != wrong.key.get(name) for name in keys)


async def _decide(
    conn: AsyncConnection, number: int, status: Status, actor: str, **more: Any
) -> None:
    decided = {"status": status, "decided_by": actor, "decided_at": text("clock_timestamp()")}
    await conn.execute(update(repairs).where(repairs.c.id == number).values(**decided, **more))


def _images(wrong: Wrong) -> dict[str, Any]:
    return {"finding": wrong.finding, "before": wrong.before, "after": wrong.after}


def _repair(row: Row[Any]) -> Repair:
    said = {**row._mapping, "table": row.relation}  # noqa: SLF001 - its public name
    return Repair.model_validate({name: said[name] for name in Repair.model_fields})
