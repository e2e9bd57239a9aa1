"""What it costs to send a package: the carriers' services, as one list."""

from __future__ import annotations

from fastapi import APIRouter

from api.security import ReadsNodes, WritesNodes, whole_network
from api.services import Serving
from api.setup import PutRateCards
from domain.network import RateCard
from storage import network
from storage.database import transaction

router = APIRouter(prefix="/v1/rate-cards", tags=["rates"])


@router.get("")
async def cards(_: ReadsNodes, services: Serving) -> tuple[RateCard, ...]:
    """Every service that a package may go by, with what it costs by zone and weight."""
    async with transaction(services.read_engine) as conn:
        return await network.rate_cards(conn)


@router.put("")
async def put(body: PutRateCards, access: WritesNodes, services: Serving) -> tuple[RateCard, ...]:
    """
    Set the whole list: a service that is not in it is used no more.

    What is decided from now on goes by it; what is decided already stays. An order that waits in
    vain for a node that reaches it is tried again by `resolve`.
    """
    whole_network(access)
    async with transaction(services.engine) as conn:
        await network.set_rate_cards(conn, body.cards())
        return await network.rate_cards(conn)
