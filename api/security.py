"""Who is asking, and what is theirs: keys with scopes, bound to channels or nodes, and sessions."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, Generic, TypeVar

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes
from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy.ext.asyncio import AsyncEngine

from api.problems import Forbidden, Unauthorized
from api.services import Services
from domain.errors import NotFound
from storage import access as keys
from storage import network
from storage.access import Access
from storage.database import transaction
from workflows.codec import Keyring

ADMIN: Final = "admin"
SESSION_COOKIE: Final = "crossdock_session"
SESSION_SECONDS: Final = 12 * 3600
_KEY_SECONDS: Final = 10.0
_SECRET_SECONDS: Final = 30.0
_MOST_REMEMBERED: Final = 2000

Found = TypeVar("Found")

_bearer = HTTPBearer(
    auto_error=False,
    scheme_name="API key",
    description="`Authorization: Bearer cd_…`, made by `crossdock key create`.",
)


class Remembered(Generic[Found]):
    """Answers remembered for a few seconds. What was not found is asked for again every time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._found: dict[str, tuple[float, Found | None]] = {}

    async def get(self, name: str, ask: Callable[[], Awaitable[Found | None]]) -> Found | None:
        now = time.monotonic()
        until, value = self._found.get(name, (0.0, None))
        if value is not None and now < until:
            return value
        answer = await ask()
        if len(self._found) >= _MOST_REMEMBERED:
            self._found.clear()
        if answer is None:
            self._found.pop(name, None)
        else:
            self._found[name] = (now + self._seconds, answer)
        return answer

    def forget(self, start: str) -> None:
        """Forget what is known by names that start so."""
        for name in [name for name in self._found if name.startswith(start)]:
            del self._found[name]


class Doorkeeper:
    """Knows keys, sessions and partners' secrets. A revoked key is out within ten seconds."""

    def __init__(self, engine: AsyncEngine, keyring: Keyring, session_secret: str) -> None:
        self._engine = engine
        self._keyring = keyring
        self._keys: Remembered[Access] = Remembered(_KEY_SECONDS)
        self._secrets: Remembered[str] = Remembered(_SECRET_SECONDS)
        self._sessions = URLSafeTimedSerializer(session_secret, salt="crossdock-session")

    async def by_token(self, token: str) -> Access | None:
        async def ask() -> Access | None:
            async with transaction(self._engine) as conn:
                return await keys.authenticate(conn, token)

        digest = hashlib.sha256(token.encode(errors="replace")).hexdigest()
        return await self._keys.get(f"token:{digest}", ask)

    async def by_session(self, cookie: str | None) -> Access | None:
        """The key behind a session cookie, if the cookie is fresh and the key still good."""
        try:
            key_id = self._sessions.loads(cookie or "", max_age=SESSION_SECONDS)
        except BadSignature:
            return None

        async def ask() -> Access | None:
            async with transaction(self._engine) as conn:
                return await keys.by_id(conn, str(key_id))

        return await self._keys.get(f"id:{key_id}", ask)

    def session(self, access: Access) -> str:
        """A session cookie's value: the key's id, signed, and nothing else."""
        return str(self._sessions.dumps(access.key_id))

    async def secret(self, owner: str, name: str) -> str | None:
        """A partner's secret in the clear, or None where there is none."""

        async def ask() -> str | None:
            async with transaction(self._engine) as conn:
                sealed = await network.credential(conn, owner, name)
            return None if sealed is None else self._keyring.unseal(sealed)

        return await self._secrets.get(f"{owner}/{name}", ask)

    def forget(self, owner: str) -> None:
        """A partner's secrets have changed."""
        self._secrets.forget(f"{owner}/")


def doorkeeper_of(request: Request) -> Doorkeeper:
    keeper: Doorkeeper = request.app.state.doorkeeper
    return keeper


def install(state: Any, services: Services) -> None:
    state.services = services
    state.doorkeeper = Doorkeeper(services.engine, services.keyring, services.session_secret)


Keeper = Annotated[Doorkeeper, Depends(doorkeeper_of)]
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def allows(access: Access, *scopes: str) -> bool:
    """Whether the key has any of these scopes; `admin` has all."""
    return ADMIN in access.scopes or any(scope in access.scopes for scope in scopes)


async def _caller(wanted: SecurityScopes, keeper: Keeper, bearer: Bearer) -> Access:
    if bearer is None:
        raise Unauthorized("send an API key: Authorization: Bearer cd_…")
    access = await keeper.by_token(bearer.credentials)
    if access is None:
        raise Unauthorized("this API key is not known, or it was revoked")
    if not allows(access, *wanted.scopes):
        raise Forbidden(f"this needs a key of scope {' or '.join(wanted.scopes)}")
    return access


def needs(*scopes: str) -> Any:
    """A caller with any of these scopes, as a dependency."""
    return Security(_caller, scopes=list(scopes))


ReadsOrders = Annotated[Access, needs("orders:read")]
ReadsFulfillments = Annotated[Access, needs("orders:read", "events:write", "pickup:write")]
WritesOrders = Annotated[Access, needs("orders:write")]
CancelsOrders = Annotated[Access, needs("orders:write", "ops")]
WritesEvents = Annotated[Access, needs("events:write")]
WritesPickups = Annotated[Access, needs("pickup:write")]
ExtendsPickups = Annotated[Access, needs("pickup:write", "ops")]
ReadsNodes = Annotated[Access, needs("nodes:read", "nodes:write")]
WritesNodes = Annotated[Access, needs("nodes:write")]
ReadsStock = Annotated[Access, needs("stock:read", "stock:write")]
WritesStock = Annotated[Access, needs("stock:write")]
Sources = Annotated[Access, needs("sourcing")]
ReadsRules = Annotated[Access, needs("rules:read", "rules:write", "rules:activate")]
WritesRules = Annotated[Access, needs("rules:write")]
ActivatesRules = Annotated[Access, needs("rules:activate")]
Operates = Annotated[Access, needs("ops")]
Administers = Annotated[Access, needs(ADMIN)]


def actor(access: Access) -> str:
    """How the key is named in the story of what it did."""
    return f"key:{access.name}"


def sees_order(access: Access, channel: str) -> bool:
    """A key bound to nodes sees fulfillments, never whole orders: others' shares are in them."""
    return access.nodes is None and (access.channels is None or channel in access.channels)


def sees_node(access: Access, node: str) -> bool:
    return access.nodes is None or node in access.nodes


def sees_fulfillment(access: Access, channel: str, node: str) -> bool:
    of_channel = access.channels is None or channel in access.channels
    return of_channel and sees_node(access, node)


def opens_payloads(access: Access) -> bool:
    """A sealed payload does not say whose it is: only a key bound to nothing may open it."""
    return allows(access, "ops") and access.channels is None and access.nodes is None


def own_channel(access: Access, channel: str) -> None:
    """Raise NotFound where the channel is not this key's, in the words for one that is not."""
    if not sees_order(access, channel):
        raise no_channel(channel)


def own_node(access: Access, node: str) -> None:
    """Raise NotFound where the node is not this key's, in the words used for one that is not."""
    if not sees_node(access, node):
        raise no_node(node)


def whole_network(access: Access) -> None:
    """Raise Forbidden for a key that is bound to some nodes only."""
    if access.nodes is not None:
        raise Forbidden("this concerns the whole network; the key is bound to single nodes")


def no_channel(channel: str) -> NotFound:
    return NotFound(f"there is no channel {channel}")


def no_node(node: str) -> NotFound:
    return NotFound(f"there is no node {node}")


def no_order(order_id: str) -> NotFound:
    return NotFound(f"there is no order {order_id}")


def no_fulfillment(fulfillment_id: str) -> NotFound:
    return NotFound(f"there is no fulfillment {fulfillment_id}")
