"""Decision records: written once for each order and round, never changed."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from sqlalchemy import ColumnElement, func, literal, select, tuple_
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import NotFound
from domain.sourcing.problem import Decision
from domain.sourcing.record import Packed, Record, pack, summed, unpack
from domain.values import Value
from storage.tables import decision_pieces, decisions

FIRST: Final = ("", 0)  # before every decision there is
_ROW_HEAD: Final = 24  # bytes of a row beside its columns


class Stored(Value):
    """A record and how it lies: its digest, the bytes of its row, the pieces that it shares."""

    record: Record
    digest: str = ""
    bytes: int
    pieces: tuple[str, ...] = ()


class Altered(Value):
    """A decision that is not what was recorded, or cannot be read, with the `reason`."""

    decision_id: str
    order_id: str
    round: int
    reason: str


async def store(conn: AsyncConnection, record: Record | Decision) -> Decision:
    """Keep the decision, unless the round was decided before. Answers the one that stands."""
    whole = record if isinstance(record, Record) else Record(decision=record)
    decision, packed = whole.decision, pack(whole)
    problem = decision.problem
    await _keep(conn, packed)
    statement = upsert(decisions).values(
        order_id=problem.order_id,
        round=problem.round,
        decision_id=decision.decision_id,
        solver=decision.solver,
        cost_minor=decision.plan.cost.total,
        body=packed.clear,
        at=problem.as_of,
        own=packed.own,
        pieces=[piece.name for piece in packed.pieces],
        digest=sha256(packed.own).digest(),
    )
    await conn.execute(statement.on_conflict_do_nothing())
    standing = await get(conn, problem.order_id, problem.round)
    return standing or decision


async def get(conn: AsyncConnection, order_id: str, round: int) -> Decision | None:
    c = decisions.c
    found = await _found(conn, (c.order_id == order_id) & (c.round == round))
    return found[0].record.decision if found else None


async def of_order(conn: AsyncConnection, order_id: str) -> tuple[Decision, ...]:
    """
    All decisions of an order that are as they were recorded, by round. Of others the auditor
    speaks: the rest of the order is none the worse for it.
    """
    found = await _read(conn, decisions.c.order_id == order_id)
    return tuple(one.record.decision for one in found if isinstance(one, Stored))


async def records(conn: AsyncConnection, order_id: str) -> tuple[Stored, ...]:
    """All records of an order, by round. Raises NotFound where one is not what was recorded."""
    return await _found(conn, decisions.c.order_id == order_id)


async def record(conn: AsyncConnection, decision_id: str) -> Stored | None:
    found = await _found(conn, decisions.c.decision_id == decision_id)
    return found[0] if found else None


async def page(
    conn: AsyncConnection, after: tuple[str, int] = FIRST, limit: int = 100
) -> tuple[Stored | Altered, ...]:
    """Records by order and round, from after that one on."""
    c = decisions.c
    return await _read(conn, tuple_(c.order_id, c.round) > tuple_(*after), limit)


async def newest(
    conn: AsyncConnection,
    since: datetime,
    before: tuple[datetime, str],
    limit: int = 100,
) -> tuple[Record, ...]:
    """
    Records of orders' first rounds from `since` on, the newest first, from before that instant and
    order on. One that is not as it was recorded is left out.
    """
    c = decisions.c
    wanted = (c.round == 1) & (c.at >= since) & (tuple_(c.at, c.order_id) < tuple_(*before))
    found = await _read(conn, wanted, limit, (c.at.desc(), c.order_id.desc()))
    return tuple(one.record for one in found if isinstance(one, Stored))


async def _keep(conn: AsyncConnection, packed: Packed) -> None:
    """The pieces that are not there yet; in the order of their names, as everyone writes them."""
    rows = {piece.name: piece.body for piece in packed.pieces}
    known = select(decision_pieces.c.name).where(decision_pieces.c.name.in_(rows))
    for name in (await conn.execute(known)).scalars():
        del rows[bytes(name)]
    if rows:
        new = [{"name": name, "body": body} for name, body in sorted(rows.items())]
        await conn.execute(upsert(decision_pieces).values(new).on_conflict_do_nothing())


async def _found(conn: AsyncConnection, wanted: ColumnElement[bool]) -> tuple[Stored, ...]:
    found = []
    for one in await _read(conn, wanted):
        if isinstance(one, Altered):
            raise NotFound(f"decision {one.decision_id}: {one.reason}")
        found.append(one)
    return tuple(found)


async def _read(
    conn: AsyncConnection,
    wanted: ColumnElement[bool],
    limit: int | None = None,
    order: Sequence[ColumnElement[Any]] = (decisions.c.order_id, decisions.c.round),
) -> tuple[Stored | Altered, ...]:
    """Decisions, by order and round where nothing else is said."""
    c = decisions.c
    size = sum((func.coalesce(func.pg_column_size(one), 0) for one in c), literal(_ROW_HEAD))
    query = select(*c, size.label("size")).where(wanted).order_by(*order)
    rows = (await conn.execute(query.limit(limit))).all()
    names = {bytes(name) for row in rows for name in row.pieces or ()}
    p = decision_pieces.c
    asked = select(p.name, p.body).where(p.name.in_(names))
    pieces = {bytes(n): bytes(body) for n, body in await conn.execute(asked)} if names else {}
    return tuple(_stored(row, pieces) for row in rows)


def _stored(row: Any, pieces: Mapping[bytes, bytes]) -> Stored | Altered:
    if row.own is None:  # of before records were packed
        return Stored(record=Record(decision=Decision.model_validate(row.body)), bytes=row.size)
    names = [bytes(name) for name in row.pieces]
    reason = _flaw(row, names, pieces)
    if not reason:
        record = unpack(bytes(row.own), [pieces[name] for name in names])
        reason = "" if _columns_agree(row, record.decision) else "its columns are not as recorded"
    if reason:
        return Altered(
            decision_id=row.decision_id, order_id=row.order_id, round=row.round, reason=reason
        )
    return Stored(
        record=record,
        digest=bytes(row.digest).hex(),
        bytes=row.size,
        pieces=tuple(name.hex() for name in names),
    )


def _flaw(row: Any, names: Sequence[bytes], pieces: Mapping[bytes, bytes]) -> str:
    """What is wrong with the bytes, if anything is."""
    if sha256(row.own).digest() != bytes(row.digest):
        return "its bytes are not as recorded: their digest is another"
    for name in names:
        if name not in pieces:
            return f"its piece {name.hex()} is gone"
        if sha256(pieces[name]).digest() != name:
            return f"its piece {name.hex()} is not as recorded: its digest is another"
    return ""


def _columns_agree(row: Any, decision: Decision) -> bool:
    problem = decision.problem
    return (row.order_id, row.round, row.decision_id, row.solver, row.cost_minor, row.body) == (
        problem.order_id,
        problem.round,
        decision.decision_id,
        decision.solver,
        decision.plan.cost.total,
        summed(decision.plan),
    )
