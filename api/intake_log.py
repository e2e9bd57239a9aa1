"""What channels sent us and what it led to: also of the orders that we declined."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from api.schemas import FindIntake
from api.security import ReadsOrders, sees_order
from api.services import Serving
from storage import intake
from storage.database import transaction
from storage.intake import IntakeEntry
from storage.reads import Page

router = APIRouter(prefix="/v1/intake", tags=["channels"])


@router.get("")
async def log(
    access: ReadsOrders, services: Serving, asked: Annotated[FindIntake, Query()]
) -> Page[IntakeEntry]:
    """Documents of channels, newest first: what each led to, and why an order was declined."""
    hidden = asked.channel is not None and not sees_order(access, asked.channel)
    if hidden or access.nodes is not None:
        return Page(items=())
    async with transaction(services.read_engine) as conn:
        return await intake.log(conn, channels=access.channels, **asked.model_dump())
