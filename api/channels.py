"""Where orders come from, and the secrets that we share with each channel."""

from __future__ import annotations

import json

from fastapi import APIRouter, status
from sqlalchemy.ext.asyncio import AsyncConnection

from api import problems
from api.security import Administers, Keeper, no_channel, own_channel, sees_order
from api.services import Services, Serving
from api.setup import PutChannel, PutCredentials
from storage import network
from storage.database import transaction
from storage.network import Channel

router = APIRouter(prefix="/v1/channels", tags=["channels"])


@router.get("")
async def channels(access: Administers, services: Serving) -> tuple[Channel, ...]:
    """Every channel that this key may see. Secrets are never shown."""
    async with transaction(services.read_engine) as conn:
        return tuple(one for one in await network.channels(conn) if sees_order(access, one.code))


@router.put("/{code}", responses=problems.documented(404, 409))
async def put(code: str, body: PutChannel, access: Administers, services: Serving) -> Channel:
    """
    Describe a channel, new or known. How far a polled one was read stays as it is.

    A polled channel is polled within seconds. No code may be another's and a hyphen more: an
    order's id, `{channel}-{channel_order_id}`, must name one order.
    """
    own_channel(access, code)
    channel = body.channel(code)
    async with transaction(services.engine) as conn:
        await network.put_channel(conn, channel)
    return channel


@router.put(
    "/{code}/credentials",
    status_code=status.HTTP_204_NO_CONTENT,
    responses=problems.documented(404),
)
async def credentials(
    code: str, body: PutCredentials, access: Administers, services: Serving, keeper: Keeper
) -> None:
    """
    Set secrets, those that are given. They are stored sealed and never shown.

    The webhook secret before this one stays good beside it, so that a rotation loses no delivery.
    """
    own_channel(access, code)
    owner = f"channel:{code}"
    async with transaction(services.engine) as conn:
        if await network.channel(conn, code) is None:
            raise no_channel(code)
        for name, secret in body.texts().items():
            text = secret
            if name == "webhook_secret":
                text = json.dumps([secret, *await _newest(conn, services, owner, but=secret)])
            await network.put_credential(conn, owner, name, services.keyring.seal(text))
    keeper.forget(owner)


async def _newest(
    conn: AsyncConnection, services: Services, owner: str, *, but: str
) -> tuple[str, ...]:
    """The webhook secret that holds until now, if it is another one."""
    sealed = await network.credential(conn, owner, "webhook_secret")
    known = json.loads(services.keyring.unseal(sealed)) if sealed else []
    return tuple(secret for secret in known if secret != but)[:1]
