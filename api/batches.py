"""Orders that are sourced together: those that cool down, and those whose work still waits here."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from api import examples, problems
from api.schemas import Closed
from api.security import Operates, whole_network
from api.services import Serving
from domain.values import Value
from storage import cooling
from storage.cooling import Waiting
from storage.database import transaction
from workflows import client
from workflows.ports import Reoptimised

router = APIRouter(prefix="/v1/batches", tags=["rules"])


class StartBatch(Closed):
    model_config = examples.of({"profile": "web-standard@3/patient"})

    profile: Annotated[
        str, Field(max_length=200, description="only what waits in this one, as the list names it")
    ] = ""


class Reoptimise(Closed):
    model_config = examples.of({"dry_run": True})

    dry_run: Annotated[bool, Field(strict=True, description="only tell what it would save")] = False


class Cooling(Value):
    items: tuple[Waiting, ...]


class Started(Value):
    """How many orders are due now; a worker sources them together within seconds."""

    orders: int


@router.get("")
async def listed(access: Operates, services: Serving) -> Cooling:
    """The orders that wait to be sourced together, by rule set, version and profile."""
    whole_network(access)
    async with transaction(services.read_engine) as conn:
        return Cooling(items=await cooling.waiting(conn))


@router.post("")
async def start(access: Operates, services: Serving, asked: StartBatch) -> Started:
    """Source those that wait now, before their time. Again, it finds who came since."""
    whole_network(access)
    async with transaction(services.engine) as conn:
        return Started(orders=await cooling.hasten(conn, asked.profile or None))


@router.post("/reoptimise", responses=problems.documented(503))
async def reoptimise(access: Operates, services: Serving, asked: Reoptimise) -> Reoptimised:
    """
    Have allocated work that no node was asked for sourced anew, where that saves more than its
    rules ask for. Answers when all is looked at; the orders then move within seconds.
    """
    whole_network(access)
    return await client.reoptimise(services.temporal, dry_run=asked.dry_run)
