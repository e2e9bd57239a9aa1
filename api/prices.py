"""Shadow prices of stock: which book holds, what it was chosen by, and the switch."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from api import examples, problems
from api.schemas import Closed
from api.security import Operates, actor, whole_network
from api.services import Serving
from domain.values import Value
from storage import prices
from storage.database import transaction
from storage.prices import Entry, Kept, State

router = APIRouter(prefix="/v1/prices", tags=["rules"])

Hex = Annotated[str, Path(pattern="^[0-9a-f]{6,64}$", description="its version, or how it begins")]
Note = Annotated[str, Field(max_length=1000, description="why; it goes into the history")]


class TurnOff(Closed):
    model_config = examples.of({"note": "peak week: nothing new"})

    note: Note = ""


class TurnOn(Closed):
    model_config = examples.of({"note": "peak week is over"})

    version: Annotated[
        str, Field(pattern="^([0-9a-f]{6,64})?$", description="a book; empty is the last one")
    ] = ""
    note: Note = ""


class PriceBooks(Value):
    """How prices stand, the books and the history of the switch; of each the newest first."""

    state: State
    items: tuple[Kept, ...]
    history: tuple[Entry, ...]


@router.get("")
async def listed(access: Operates, services: Serving) -> PriceBooks:
    """The last hundred books of prices, and which of them holds."""
    whole_network(access)
    async with transaction(services.read_engine) as conn:
        return PriceBooks(
            state=await prices.state(conn),
            items=await prices.listed(conn),
            history=await prices.history(conn),
        )


@router.get("/{version}", responses=problems.documented(404))
async def shown(access: Operates, services: Serving, version: Hex) -> Kept:
    """A book, and what every scale of every kind of prices cost when it was tried."""
    whole_network(access)
    async with transaction(services.read_engine) as conn:
        return await prices.get(conn, version)


@router.post("/off")
async def off(access: Operates, services: Serving, asked: TurnOff) -> State:
    """Have no prices from the next decision on. Again, it changes nothing."""
    whole_network(access)
    async with transaction(services.engine) as conn:
        return await prices.off(conn, actor(access), asked.note)


@router.post("/on", responses=problems.documented(404))
async def on(access: Operates, services: Serving, asked: TurnOn) -> State:
    """Have this book hold from the next decision on, and be replaced by better ones."""
    whole_network(access)
    async with transaction(services.engine) as conn:
        return await prices.on(conn, actor(access), asked.version or None, asked.note)
