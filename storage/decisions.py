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
from domain.sourcing.record import Packed, Record, pack, unpack
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
    All decisions of an order that can be read, by round. Of one whose piece is gone the auditor
    speaks: the rest of the order is none the worse for it.
    """
    rows, pieces = await _rows(conn, decisions.c.order_id == order_id)
    return tuple(_stored(row, pieces).record.decision for row in rows if not _lacks(row, pieces))


async def records(conn: AsyncConnection, order_id: str) -> tuple[Stored, ...]:
    """All records of an order, by round. Raises NotFound where a piece of one is missing."""
    return await _found(conn, decisions.c.order_id == order_id)


async def record(conn: AsyncConnection, decision_id: str) -> Stored | None:
    found = await _found(conn, decisions.c.decision_id == decision_id)
    return found[0] if found else None


async def page(
    conn: AsyncConnection, after: tuple[str, int] = FIRST, limit: int = 100
) -> tuple[Stored, ...]:
    """Records by order and round, from after that one on."""
    c = decisions.c
    return await _found(conn, tuple_(c.order_id, c.round) > tuple_(*after), limit)


async def newest(
    conn: AsyncConnection,
    since: datetime,
    before: tuple[datetime, str],
    limit: int = 100,
) -> tuple[Record, ...]:
    """
    Records of orders' first rounds from `since` on, the newest first, from before that instant and
    order on. One whose piece is gone is left out.
    """
    c = decisions.c
    wanted = (c.round == 1) & (c.at >= since) & (tuple_(c.at, c.order_id) < tuple_(*before))
    rows, pieces = await _rows(conn, wanted, limit, (c.at.desc(), c.order_id.desc()))
    return tuple(_stored(row, pieces).record for row in rows if not _lacks(row, pieces))


async def _keep(conn: AsyncConnection, packed: Packed) -> None:
    """The pieces that are not there yet; in the order of their names, as everyone writes them."""
    rows = {piece.name: piece.body for piece in packed.pieces}
    known = select(decision_pieces.c.name).where(decision_pieces.c.name.in_(rows))
    for name in (await conn.execute(known)).scalars():
        del rows[bytes(name)]
    if rows:
        new = [{"name": name, "body": body} for name, body in sorted(rows.items())]
        await conn.execute(upsert(decision_pieces).values(new).on_conflict_do_nothing())


async def _found(
    conn: AsyncConnection, wanted: ColumnElement[bool], limit: int | None = None
) -> tuple[Stored, ...]:
    rows, pieces = await _rows(conn, wanted, limit)
    for row in rows:
        if gone := _lacks(row, pieces):
            raise NotFound(f"decision {row.decision_id}: its piece {gone[0].hex()} is gone")
    return tuple(_stored(row, pieces) for row in rows)


async def _rows(
    conn: AsyncConnection,
    wanted: ColumnElement[bool],
    limit: int | None = None,
    order: Sequence[ColumnElement[Any]] = (decisions.c.order_id, decisions.c.round),
) -> tuple[Sequence[Any], Mapping[bytes, bytes]]:
    """Decisions, by order and round, and the pieces of theirs that are there."""
    c = decisions.c
    size = sum((func.coalesce(func.pg_column_size(one), 0) for one in c), literal(_ROW_HEAD))
    query = select(c.decision_id, c.body, c.own, c.pieces, c.digest, size.label("size"))
    rows = await conn.execute(query.where(wanted).order_by(*order).limit(limit))
    found = rows.all()
    names = {bytes(name) for row in found for name in row.pieces or ()}
    p = decision_pieces.c
    asked = select(p.name, p.body).where(p.name.in_(names))
    pieces = {bytes(n): bytes(body) for n, body in await conn.execute(asked)} if names else {}
    return found, pieces


def _lacks(row: Any, pieces: Mapping[bytes, bytes]) -> list[bytes]:
    return [bytes(name) for name in row.pieces or () if bytes(name) not in pieces]


def _stored(row: Any, pieces: Mapping[bytes, bytes]) -> Stored:
    if row.own is None:  # of before records were packed
        return Stored(record=Record(decision=Decision.model_validate(row.body)), bytes=row.size)
    names = [bytes(name) for name in row.pieces]
    return Stored(
        record=unpack(row.body, bytes(row.own), [pieces[name] for name in names]),
        digest=bytes(row.digest).hex(),
        bytes=row.size,
        pieces=tuple(name.hex() for name in names),
    )
