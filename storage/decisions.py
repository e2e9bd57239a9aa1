"""Decision records: written once for each order and round, never changed."""

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.sourcing.problem import Decision
from storage.tables import decisions


async def store(conn: AsyncConnection, decision: Decision) -> Decision:
    """Keep the decision, unless the round was decided before. Answers the one that stands."""
    problem = decision.problem
    statement = upsert(decisions).values(
        order_id=problem.order_id,
        round=problem.round,
        decision_id=decision.decision_id,
        solver=decision.solver,
        cost_minor=decision.plan.cost.total,
        body=decision,
        at=problem.as_of,
    )
    await conn.execute(statement.on_conflict_do_nothing())
    standing = await get(conn, problem.order_id, problem.round)
    return standing or decision


async def get(conn: AsyncConnection, order_id: str, round: int) -> Decision | None:
    query = select(decisions.c.body).where(
        decisions.c.order_id == order_id, decisions.c.round == round
    )
    body = (await conn.execute(query)).scalar()
    return Decision.model_validate(body) if body else None


async def of_order(conn: AsyncConnection, order_id: str) -> tuple[Decision, ...]:
    """All decisions of an order, by round."""
    query = select(decisions.c.body).where(decisions.c.order_id == order_id)
    rows = await conn.execute(query.order_by(decisions.c.round))
    return tuple(Decision.model_validate(body) for body in rows.scalars())
