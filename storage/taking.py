"""
Units taken for many reservations at once: who came first is served first, in one statement.

What may be taken is what `domain.availability` says: `look` locks, asks it for one after the other
and then writes. `guess` takes that all is there, new, and held back by nothing, so that there is
nothing to ask; the statement that writes finds out. Both write by the function `reserve_units`.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Conflict, Refused
from storage import claims
from storage.asks import Answer, Ask
from storage.carts import Carts
from storage.reserve_units import GUESS, WRITE, Rows
from storage.room import Room

_WRONG: Final = frozenset({"CD001", "CD002", "23505"})  # not enough; held back; made before


async def guess(cursor: psycopg.AsyncCursor[Any], asks: Sequence[Ask]) -> list[Answer] | None:
    """
    Take everything for everyone, from the network, in one statement; None where that cannot be, or
    where something is held back of a SKU. No rule slips by that was committed before: the statement
    looks once the units are locked, and a change of rules waits for whoever holds them.

    On a connection that commits by itself this is the whole transaction.
    """
    rows = Rows()
    answers = [Answer(rows.add(ask, ask.lines), {}) for ask in asks]
    try:
        await cursor.execute(*rows.written_by(GUESS), prepare=True)
    except psycopg.Error as error:
        if error.sqlstate not in _WRONG:
            raise
        return None
    return answers


async def look(conn: AsyncConnection, asks: Sequence[Ask]) -> list[Answer | Refused]:
    """
    Decide for one after the other what there is, then take it.

    What was made before is answered as it was then; what ended before it was made is refused. The
    keys are different ones. Raises NotFound(node), and IntegrityError where another session makes
    one of the reservations at the same time: the transaction is lost then, and may be tried again.

    What is taken over is free for the one who takes it and for nobody else; where he is short and
    takes nothing, it stays as it was.
    """
    before = await _made_before(conn, [ask.reservation_id for ask in asks])
    locked = [ask for ask in asks if ask.waits or ask.reservation_id not in before]
    carts = await Carts.locked(conn, {ask.takes_over for ask in locked if ask.takes_over})
    room = await Room.locked(conn, locked, carts)
    rows = Rows()
    answers: list[Answer | Refused] = []
    for ask in asks:
        made = before.get(ask.reservation_id)
        if made is not None:
            answers.append(made.answer(ask))
            continue
        cart = carts.named(ask.takes_over, ask.channel, ask.order_id)
        lines, missing = room.take(ask, cart)
        if lines is None:
            kept = cart is not None and cart.fate == "taken"
            answers.append(Answer({}, missing, None if kept else cart))
            continue
        carts.give(cart, ask.order_id or ask.reservation_id, ask.actor)
        answers.append(Answer(rows.add(ask, lines), missing, cart))
    await carts.end(conn, room.places)
    if rows:
        await conn.exec_driver_sql(*rows.written_by(WRITE))
    return answers


class _Made(NamedTuple):
    """A reservation that is there already."""

    state: str
    digest: str | None
    missing: Mapping[str, tuple[str, int]]

    def answer(self, ask: Ask) -> Answer | Refused:
        if self.state not in claims.OPEN:
            return claims.over(ask.reservation_id, self.state)
        if ask.digest != self.digest:
            return Conflict(
                f"{ask.reservation_id} was asked for with other content; use another key for it",
                code="reservation_differs",
            )
        missing: Counter[str] = Counter()
        for sku, units in self.missing.values():
            missing[sku] += units
        taken = {
            line.line_id: line.quantity - self.missing.get(line.line_id, ("", 0))[1]
            for line in ask.lines
        }
        return Answer(taken, dict(missing))


async def _made_before(conn: AsyncConnection, ids: Sequence[str]) -> dict[str, _Made]:
    rows = await conn.execute(
        text(
            "SELECT r.reservation_id, r.state, q.digest, l.line_id, l.sku, l.missing"
            " FROM reservations AS r"
            " LEFT JOIN reservation_requests AS q ON q.reservation_id = r.reservation_id"
            " LEFT JOIN reservation_lines AS l"
            " ON l.reservation_id = r.reservation_id AND l.missing > 0"
            " WHERE r.reservation_id = ANY(:ids)"
        ),
        {"ids": list(ids)},
    )
    made: dict[str, _Made] = {}
    for row in rows:
        known = made.setdefault(row.reservation_id, _Made(row.state, row.digest, {}))
        if row.line_id is not None:
            made[row.reservation_id] = known._replace(
                missing={**known.missing, row.line_id: (row.sku, row.missing)}
            )
    return made
