"""API keys: shown once, stored as a hash, limited by scope and to a partner's own resources."""

import hashlib
import hmac
import secrets
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.values import Value
from storage.tables import api_keys

_NOBODY = "0" * 64  # compared with where there is no such key, so that it takes as long


class Access(Value):
    """What a key may do. `channels` and `nodes` None are no limit."""

    key_id: str
    name: str
    scopes: tuple[str, ...]
    channels: tuple[str, ...] | None = None
    nodes: tuple[str, ...] | None = None


class KeyListing(Access):
    created_at: datetime
    revoked_at: datetime | None = None


async def create(
    conn: AsyncConnection,
    name: str,
    scopes: Collection[str],
    channels: Collection[str] | None = None,
    nodes: Collection[str] | None = None,
) -> str:
    """A new key, `cd_<id>_<secret>`. This is the only time that it can be read."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    await conn.execute(
        insert(api_keys).values(
            key_id=key_id,
            hash=_hash(secret),
            name=name,
            scopes=sorted(scopes),
            channels=None if channels is None else sorted(channels),
            nodes=None if nodes is None else sorted(nodes),
        )
    )
    return f"cd_{key_id}_{secret}"


async def authenticate(conn: AsyncConnection, token: str) -> Access | None:
    """Whose key this is; None where it is nobody's or was revoked, after the same time."""
    prefix, _, rest = token.partition("_")
    key_id, _, secret = rest.partition("_")
    row = await _good(conn, key_id) if prefix == "cd" and key_id.isalnum() else None
    matches = hmac.compare_digest(row.hash if row else _NOBODY, _hash(secret))
    return _access(row) if row is not None and matches else None


async def by_id(conn: AsyncConnection, key_id: str) -> Access | None:
    """The key of a session; None once it was revoked."""
    row = await _good(conn, key_id)
    return _access(row) if row is not None else None


async def revoke(conn: AsyncConnection, key_id: str) -> bool:
    """Whether there was such a key to revoke."""
    changed = await conn.execute(
        update(api_keys)
        .where(api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=func.now())
    )
    return changed.rowcount > 0


async def list_keys(conn: AsyncConnection) -> tuple[KeyListing, ...]:
    rows = await conn.execute(select(api_keys).order_by(api_keys.c.created_at))
    return tuple(KeyListing.model_validate(dict(row)) for row in rows.mappings())


async def _good(conn: AsyncConnection, key_id: str) -> Row[Any] | None:
    query = select(api_keys).where(api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None))
    return (await conn.execute(query)).first()


def _access(row: Row[Any]) -> Access:
    return Access(
        key_id=row.key_id,
        name=row.name,
        scopes=tuple(row.scopes),
        channels=None if row.channels is None else tuple(row.channels),
        nodes=None if row.nodes is None else tuple(row.nodes),
    )


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
