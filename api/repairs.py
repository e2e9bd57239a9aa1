"""What the auditor found wrong in the books, what was done, and what waits for a person."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field

from api import examples, problems
from api.schemas import AfterEntry, Closed
from api.security import Operates, actor, whole_network
from api.services import Serving
from domain.values import Value
from storage import passes, repairs
from storage.database import transaction
from storage.passes import Pass
from storage.repairs import Repair

router = APIRouter(prefix="/v1/repairs", tags=["repairs"])

RepairId = Annotated[int, Path(ge=1, le=2**62, description="as the list of repairs names it")]


class FindRepairs(AfterEntry):
    status: Annotated[
        Literal["proposed", "applied", "refused", "gone"] | None,
        Field(description="only these; `proposed` ones wait for a person"),
    ] = None


class RefuseRepair(Closed):
    """Why the row is to stay as it is."""

    model_config = examples.of({"note": "counted by two of us: it is seventy"})

    note: Annotated[str, Field(max_length=1000)] = ""


class Repairs(Value):
    """
    `passes` are the last ones of the continuous auditor, `quick` over what moved and `full` over
    everything, with how many findings each left.
    """

    items: tuple[Repair, ...]
    next: int | None
    passes: tuple[Pass, ...]


@router.get("")
async def listed(
    access: Operates, services: Serving, asked: Annotated[FindRepairs, Query()]
) -> Repairs:
    """Repairs, proposed and decided, the oldest first."""
    whole_network(access)
    async with transaction(services.read_engine) as conn:
        found = await repairs.listed(
            conn, status=asked.status, after=asked.after, limit=asked.limit
        )
        made = await passes.last(conn)
    after = found[-1].id if len(found) == asked.limit else None
    return Repairs(items=found, next=after, passes=made)


@router.post("/{repair_id}/apply", responses=problems.documented(404, 409))
async def apply(access: Operates, services: Serving, repair_id: RepairId) -> Repair:
    """Have a proposed repair made, if the row is still wrong. Again, it answers the same."""
    whole_network(access)
    async with transaction(services.engine) as conn:
        return await repairs.apply(conn, repair_id, actor(access))


@router.post("/{repair_id}/refuse", responses=problems.documented(404, 409))
async def refuse(
    body: RefuseRepair, access: Operates, services: Serving, repair_id: RepairId
) -> Repair:
    """Leave the row as it is. The auditor goes on finding it, and proposes this no more."""
    whole_network(access)
    async with transaction(services.engine) as conn:
        return await repairs.refuse(conn, repair_id, actor(access), body.note)
