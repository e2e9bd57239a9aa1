"""Decision records as they are stored: small, shared in pieces, written once, never changed."""

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.errors import NotFound
from domain.sourcing.problem import Decision
from domain.sourcing.record import Record
from domain.sourcing.solver import solve
from storage import audit, decisions
from storage.database import transaction
from storage.tables import decision_pieces
from storage.tables import decisions as table
from tests.domain.sourcing.brute import seeded
from tests.domain.sourcing.test_record import crowded, with_surroundings


def a_record(number: int) -> Record:
    problem = crowded(seeded(number), f"web-{number}")
    return with_surroundings(solve(problem, f"web-{number}/1"))


async def pieces(conn: AsyncConnection) -> int:
    count: int = (
        await conn.execute(select(func.count()).select_from(decision_pieces))
    ).scalar_one()
    return count


async def test_a_stored_decision_of_twenty_nodes_is_small_and_whole(conn: AsyncConnection) -> None:
    for number in range(12):
        record = a_record(number)
        await decisions.store(conn, record)
        stored = await decisions.record(conn, f"web-{number}/1")

        assert stored is not None
        assert stored.record == record
        assert stored.bytes <= 4096
    assert await pieces(conn) == 4  # of all twelve: the house, its candidates, nodes and rates


async def test_what_is_written_again_is_the_same_and_adds_nothing(conn: AsyncConnection) -> None:
    record = a_record(1)
    first = await decisions.store(conn, record)
    before = await pieces(conn)
    other = record.decision.model_copy(update={"gap_minor": 1})

    assert await decisions.store(conn, record) == first
    assert await decisions.store(conn, other) == first
    assert await pieces(conn) == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE decisions SET cost_minor = 0",
        "DELETE FROM decisions",
        "UPDATE decision_pieces SET body = ''",
        "DELETE FROM decision_pieces",
    ],
)
async def test_nothing_of_it_is_changed(conn: AsyncConnection, statement: str) -> None:
    await decisions.store(conn, a_record(1))
    with pytest.raises(DBAPIError, match="a decision stays as it was recorded"):
        await conn.execute(text(statement))


async def test_a_piece_that_is_gone_is_found_and_named(world: AsyncEngine) -> None:
    async with transaction(world) as conn:
        await decisions.store(conn, a_record(1))
        assert [f for f in await audit.audit(conn) if "piece" in f.message] == []
    async with world.connect() as conn:  # never committed
        await conn.execute(text("SET LOCAL crossdock.repair = 'a lie'"))
        await conn.execute(text("DELETE FROM decision_pieces"))
        found = [f for f in await audit.audit(conn) if "can be neither read" in f.message]
        assert {(f.invariant, f.subject) for f in found} == {(7, "web-1/1")}
        assert len(found) == 4
        with pytest.raises(NotFound, match="web-1/1: its piece"):
            await decisions.records(conn, "web-1")
        assert await decisions.of_order(conn, "web-1") == ()


async def test_a_decision_of_before_is_read_as_it_lies(conn: AsyncConnection) -> None:
    decision: Decision = a_record(77).decision
    problem = decision.problem
    row = {
        "order_id": problem.order_id,
        "round": problem.round,
        "decision_id": decision.decision_id,
        "solver": decision.solver,
        "cost_minor": decision.plan.cost.total,
        "body": decision,
        "at": problem.as_of,
    }
    await conn.execute(insert(table).values(**row))
    assert await decisions.of_order(conn, problem.order_id) == (decision,)


async def test_pages_go_through_all(conn: AsyncConnection) -> None:
    for number in range(5):
        await decisions.store(conn, a_record(number))
    seen, after = [], decisions.FIRST
    while page := await decisions.page(conn, after, limit=2):
        seen += [stored.record.decision.decision_id for stored in page]
        last = page[-1].record.decision.problem
        after = (last.order_id, last.round)
    assert seen == [f"web-{number}/1" for number in range(5)]
