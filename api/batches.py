"""Orders that cool down, so as to be sourced together: how many wait, and to have them go now."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field

from api import examples
from api.schemas import Closed
from api.security import Operates, whole_network
from api.services import Serving
from domain.values import Value
from storage import cooling
from storage.cooling import Waiting
from storage.database import transaction

router = APIRouter(prefix="/v1/batches", tags=["rules"])


class StartBatch(Closed):
    model_config = examples.of({"profile": "web-standard@3/patient"})

    profile: Annotated[
        str, Field(max_length=200, description="only what waits in this one, as the list names it")
    ] = ""


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
