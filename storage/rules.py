"""Rule sets: kept in versions that never change, activated one at a time, and told of."""

import asyncio
import hashlib
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import RowMapping, Select, func, insert, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.errors import Conflict, NotFound
from domain.rules.checks import check
from domain.rules.names import Of, named
from domain.rules.sets import RuleSet, Version
from domain.rules.together import check_graph, check_together, targets
from domain.values import Value
from storage.tables import rule_set_log, rule_sets

Status = Literal["draft", "active", "archived"]
Action = Literal["saved", "activated", "archived"]

# What a set may lead to depends on all others: they are written one transaction after the other.
_LOCK: Final = text("LOCK TABLE rule_sets IN SHARE ROW EXCLUSIVE MODE")
_TOLD: Final = ("name", "version", "status", "actor", "at")


class Listed(Value):
    """A version in short; `at` is when it was saved, by whom."""

    name: str
    version: int
    status: Status
    owner: str
    note: str
    actor: str
    at: datetime


class Kept(Value):
    """
    A version whole. `unknown` are names in it that nothing here has, each with its path; they may
    be written before what they name is there. Told where it is saved and activated.
    """

    version: int
    status: Status
    actor: str
    at: datetime
    rules: RuleSet
    unknown: tuple[str, ...] = ()


class Entry(Value):
    """What was done with a version, by whom."""

    id: int
    name: str
    version: int
    action: Action
    note: str
    actor: str
    at: datetime


async def save(conn: AsyncConnection, rules: RuleSet, actor: str) -> Kept:
    """
    The set as a new draft; the newest version itself where it says the same.

    Raises Flawed, by the field, where the set cannot be, or could leave an order without a next
    step: `next` must name a set that is there, active or newest.
    """
    await asyncio.to_thread(check, rules)
    await conn.execute(_LOCK)
    check_graph(rules, await _newest(conn, without=rules.name))
    body = rules.model_dump_json()
    digest = hashlib.sha256(body.encode()).hexdigest()
    last = await _row(conn, _of_name(rules.name).order_by(rule_sets.c.version.desc()).limit(1))
    if last is not None and last["digest"] == digest and last["status"] != "archived":
        return await _doubted(conn, _kept(last))
    number = 1 if last is None else last["version"] + 1
    row = {"name": rules.name, "version": number, "body": rules, "digest": digest, "actor": actor}
    await conn.execute(insert(rule_sets).values(row))
    await _log(conn, rules.name, number, "saved", actor=actor, note=rules.note)
    return await _doubted(conn, await get(conn, rules.name, number))


async def activate(
    conn: AsyncConnection, name: str, version: int, actor: str, note: str = ""
) -> Kept:
    """
    Have this version hold, in place of the one of its name that did, which is archived.

    An archived one may come back. Raises NotFound, and Flawed(overlap) where another active set
    matches the same orders, or where orders could be left without a next step.
    """
    kept = await get(conn, name, version)
    if kept.status == "active":
        return kept
    await asyncio.to_thread(check, kept.rules)  # which never change, so before others have to wait
    await conn.execute(_LOCK)
    kept = await get(conn, name, version)
    if kept.status == "active":
        return kept
    standing = {one.rules.name: one for one in await active(conn)}
    check_together([one.rules for one in standing.values()], kept.rules)
    if name in standing:
        await _set(conn, name, standing[name].number, "archived")
        said = f"version {version} took its place"
        await _log(conn, name, standing[name].number, "archived", actor=actor, note=said)
    await _set(conn, name, version, "active")
    await _log(conn, name, version, "activated", actor=actor, note=note)
    return await _doubted(conn, await get(conn, name, version))


async def archive(
    conn: AsyncConnection, name: str, version: int, actor: str, note: str = ""
) -> Kept:
    """
    Have this version hold no more. Raises NotFound, and Conflict(in_use) where an active set's
    orders go on to it.
    """
    await conn.execute(_LOCK)
    kept = await get(conn, name, version)
    if kept.status == "archived":
        return kept
    if kept.status == "active":
        for other in await active(conn):
            if other.rules.name != name and name in targets(other.rules):
                message = f"{other.label} is active and goes on to {name}; archive it first"
                raise Conflict(message, code="in_use")
    await _set(conn, name, version, "archived")
    await _log(conn, name, version, "archived", actor=actor, note=note)
    return await get(conn, name, version)


async def active(conn: AsyncConnection) -> tuple[Version, ...]:
    """The sets that hold, by name. What was read once is not read again: versions do not change."""
    c = rule_sets.c
    heads = await conn.execute(
        select(c.name, c.version, c.digest).where(c.status == "active").order_by(c.name)
    )
    standing = [(row.name, row.version, row.digest) for row in heads]
    missing = [digest for _, _, digest in standing if digest not in _read]
    if missing:
        rows = await conn.execute(select(c.digest, c.body).where(c.digest.in_(missing)))
        if len(_read) > _MOST_READ:
            _read.clear()
        _read.update({row.digest: RuleSet.model_validate(row.body) for row in rows})
    return tuple(Version(_read[digest], number) for _, number, digest in standing)


async def get(conn: AsyncConnection, name: str, version: int | None = None) -> Kept:
    """
    A version; without its number the active one, else the newest. Raises NotFound.
    """
    query = _of_name(name)
    if version is None:
        c = rule_sets.c
        query = query.order_by((c.status == "active").desc(), c.version.desc()).limit(1)
    else:
        query = query.where(rule_sets.c.version == version)
    row = await _row(conn, query)
    if row is None:
        raise NotFound(f"there is no rule set {name if version is None else f'{name}@{version}'}")
    return _kept(row)


async def newest(conn: AsyncConnection, name: str) -> int:
    """The number of the newest version. Raises NotFound."""
    query = select(func.max(rule_sets.c.version)).where(rule_sets.c.name == name)
    found: int | None = (await conn.execute(query)).scalar()
    if found is None:
        raise NotFound(f"there is no rule set {name}")
    return found


async def listed(
    conn: AsyncConnection,
    *,
    name: str | None = None,
    status: Status | None = None,
    after: tuple[str, int] | None = None,
    limit: int = 100,
) -> tuple[Listed, ...]:
    """The versions by name, the newest first. `after` is the name and version seen last."""
    c = rule_sets.c
    query = select(
        *(c[told] for told in _TOLD),
        c.body["owner"].astext.label("owner"),
        c.body["note"].astext.label("note"),
    )
    if name is not None:
        query = query.where(c.name == name)
    if status is not None:
        query = query.where(c.status == status)
    if after is not None:
        query = query.where(tuple_(c.name, -c.version) > tuple_(after[0], -after[1]))
    rows = await conn.execute(query.order_by(c.name, -c.version).limit(limit))
    return tuple(Listed.model_validate(dict(row)) for row in rows.mappings())


async def history(
    conn: AsyncConnection, name: str, *, after: int = 0, limit: int = 100
) -> tuple[Entry, ...]:
    """What was done with the versions of a name, the oldest first."""
    c = rule_set_log.c
    query = select(rule_set_log).where(c.name == name, c.id > after).order_by(c.id).limit(limit)
    rows = await conn.execute(query)
    return tuple(Entry.model_validate(dict(row)) for row in rows.mappings())


async def _doubted(conn: AsyncConnection, kept: Kept) -> Kept:
    said = tuple(dict.fromkeys(named(kept.rules)))
    there: set[tuple[str, str]] = set()
    for of, query in _THERE.items():
        if names := [one.name for one in said if one.of == of]:
            found = await conn.execute(text(query), {"names": names})
            there |= {(of, name) for name in found.scalars()}
    told = (f"{o.path}: there is no {o.of} {o.name}" for o in said if (o.of, o.name) not in there)
    return kept.model_copy(update={"unknown": tuple(told)})


# By what a name is of: those of :names that are there.
_THERE: Final[dict[Of, str]] = {
    "channel": """
        SELECT said FROM unnest(CAST(:names AS text[])) AS said
        WHERE EXISTS (SELECT FROM channels WHERE code = said)
           OR EXISTS (SELECT FROM api_keys WHERE said = ANY(channels))
           OR EXISTS (SELECT FROM orders WHERE channel = said)
    """,
    "node": "SELECT code FROM nodes WHERE code = ANY(:names)",
    "SKU": "SELECT sku FROM products WHERE sku = ANY(:names)",
    "handling class": """
        SELECT said FROM unnest(CAST(:names AS text[])) AS said
        WHERE EXISTS (SELECT FROM nodes WHERE body -> 'handling_classes' ? said)
           OR EXISTS (SELECT FROM rate_cards WHERE body -> 'offers' ? said)
           OR EXISTS (SELECT FROM products
                      WHERE body ->> 'handling_class' = said OR body -> 'requires' ? said)
    """,
}
_MOST_READ: Final = 200
_read: dict[str, RuleSet] = {}


async def _newest(conn: AsyncConnection, *, without: str) -> dict[str, RuleSet]:
    """Of each other name the active version, else the newest draft."""
    c = rule_sets.c
    query = (
        select(c.name, c.body)
        .ext(distinct_on(c.name))
        .where(c.name != without, c.status != "archived")
        .order_by(c.name, (c.status == "active").desc(), c.version.desc())
    )
    return {row.name: RuleSet.model_validate(row.body) for row in await conn.execute(query)}


def _of_name(name: str) -> Select[Any]:
    return select(rule_sets).where(rule_sets.c.name == name)


async def _row(conn: AsyncConnection, query: Select[Any]) -> RowMapping | None:
    found: RowMapping | None = (await conn.execute(query)).mappings().first()
    return found


def _kept(row: RowMapping) -> Kept:
    return Kept.model_validate({**row, "rules": row["body"]})


async def _set(conn: AsyncConnection, name: str, version: int, status: Status) -> None:
    c = rule_sets.c
    await conn.execute(
        update(rule_sets).where(c.name == name, c.version == version).values(status=status)
    )


async def _log(  # noqa: PLR0913 - the row's columns
    conn: AsyncConnection, name: str, version: int, action: Action, *, actor: str, note: str
) -> None:
    row = {"name": name, "version": version, "action": action, "actor": actor, "note": note}
    await conn.execute(insert(rule_set_log).values(row))
