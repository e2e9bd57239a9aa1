"""Rules of sourcing: kept in versions, compared, activated by those who may, and tried out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Self

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field, model_validator

from api import examples, problems, trying
from api.problems import Forbidden, Unfit
from api.schemas import AfterEntry, Closed, Note, PageOf, PlaceOrder, Text
from api.security import (
    ActivatesRules,
    ReadsRules,
    WritesRules,
    actor,
    allows,
    no_order,
    sees_order,
    whole_network,
)
from api.services import Serving
from api.trying import Tried
from domain.errors import Conflict, Invalid
from domain.rules import documents
from domain.rules.checks import check
from domain.rules.conditions import Flawed
from domain.rules.differences import Difference, differences
from domain.rules.facts import FIELDS, SCOPES, FieldType, Scope
from domain.rules.sets import RuleSet
from domain.values import Value
from storage import rules
from storage.access import Access
from storage.database import transaction
from storage.reads import Page
from storage.rules import Entry, Kept, Listed, Status

router = APIRouter(prefix="/v1/rules", tags=["rules"])

_MOST_YAML = documents.MOST_CHARACTERS
SetName = Annotated[str, Path(max_length=63, description="the rule set's name")]
Number = Annotated[int, Path(ge=1, le=2**31 - 1, description="the version's number")]
Asked = Annotated[int | None, Field(ge=1, le=2**31 - 1, description="the version's number")]


class SaveRules(Closed):
    """A rule set as values, or the same as YAML: one of the two."""

    model_config = examples.of(examples.RULES)

    rules: RuleSet | None = None
    yaml: Annotated[str, Field(max_length=_MOST_YAML, description="as `yaml` answers it")] = ""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.rules is None) == (not self.yaml):
            raise ValueError("rules: say either `rules` or `yaml`, and one of them")
        return self


class ChangeStatus(Closed):
    model_config = examples.of({"note": "the peak is over"})

    note: Note = ""


class TryRules(Closed):
    """
    An order that is here, by its id, or an invented one. Without `name` the active set that it
    comes to judges it, without `version` the active version, else the newest.
    """

    model_config = examples.of({"name": "web-standard", "version": 3, "order": examples.ORDER})

    name: Annotated[str, Field(max_length=63)] | None = None
    version: Asked = None
    order_id: Text = ""
    order: PlaceOrder | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.order is None) == (not self.order_id):
            raise ValueError("order: say either `order` or `order_id`, and one of them")
        if self.version is not None and self.name is None:
            raise ValueError("name: say of which rule set it is a version")
        return self


class FindRules(PageOf):
    name: Annotated[Text | None, Field(description="of this name")] = None
    status: Annotated[Status | None, Field(description="draft, active or archived")] = None


class CompareRules(Closed):
    before: Asked = None
    after: Asked = None


class Compared(Value):
    """What changed between two versions of a set; nothing where they say the same."""

    name: str
    before: int
    after: int
    differences: tuple[Difference, ...]


class FieldTold(Value):
    """A field that conditions may speak of: `scope` is what it is asked of, one by one."""

    name: str
    type: FieldType
    scope: Scope
    says: str


@router.get("")
async def listed(
    access: ReadsRules, services: Serving, asked: Annotated[FindRules, Query()]
) -> Page[Listed]:
    """The versions of all rule sets, by name, the newest first."""
    _of_all(access)
    after = None if asked.cursor is None else _position(asked.cursor)
    async with transaction(services.read_engine) as conn:
        found = await rules.listed(
            conn, name=asked.name, status=asked.status, after=after, limit=asked.limit
        )
    last = found[-1] if len(found) == asked.limit else None
    return Page(items=found, next=json.dumps([last.name, last.version]) if last else None)


@router.post("")
async def save(body: SaveRules, access: WritesRules, services: Serving) -> Kept:
    """
    Keep a rule set as a new draft; nothing holds by it before it is activated.

    The answer is the newest version where it says the same. What is wrong is told by its field,
    in a condition with line and column.
    """
    _of_all(access)
    with flaws_told("rules." if body.rules else ""):
        said = await asyncio.to_thread(_read, body)
        async with transaction(services.engine) as conn:
            return await rules.save(conn, said, actor(access))


@router.get("/fields")
async def fields(_: ReadsRules) -> tuple[FieldTold, ...]:
    """The fields that conditions may speak of, with their types and what they say."""
    return tuple(
        FieldTold(name=name, type=field.type, scope=SCOPES[name], says=field.says)
        for name, field in FIELDS.items()
    )


@router.post("/try", responses=problems.documented(404))
async def try_out(body: TryRules, access: ReadsRules, services: Serving) -> Tried:
    """
    Judge an order, real or invented, by a draft or by what holds, and solve it; write nothing.

    It tells the profile, what each condition is met for, the policy, and the plan that is best by
    it with the stock of this moment. An order's id needs the scope `orders:read` as well.
    """
    _of_all(access)
    if body.order is not None:
        order = body.order.order()
    else:
        if not allows(access, "orders:read"):
            raise Forbidden("an order's id needs a key of scope orders:read as well")
        order = await trying.placed(services.read_engine, body.order_id)
        if not sees_order(access, order.channel):
            raise no_order(body.order_id)
    return await trying.tried(
        services.read_engine,
        order,
        now=services.clock(),
        name=body.name,
        version=body.version,
    )


@router.get("/{name}", responses=problems.documented(404))
async def standing(access: ReadsRules, services: Serving, name: SetName) -> Kept:
    """The version that is active; the newest where none is."""
    return await _get(access, services, name)


@router.get("/{name}/history")
async def history(
    access: ReadsRules, services: Serving, name: SetName, asked: Annotated[AfterEntry, Query()]
) -> tuple[Entry, ...]:
    """Who saved, activated and archived what, oldest first. Ask again with the last `id`."""
    _of_all(access)
    async with transaction(services.read_engine) as conn:
        return await rules.history(conn, name, after=asked.after, limit=asked.limit)


@router.get("/{name}/diff", responses=problems.documented(404))
async def compare(
    access: ReadsRules, services: Serving, name: SetName, asked: Annotated[CompareRules, Query()]
) -> Compared:
    """What changed from `before` (the active version) to `after` (the newest)."""
    _of_all(access)
    async with transaction(services.read_engine) as conn:
        old = await rules.get(conn, name, asked.before)
        new = await rules.get(conn, name, asked.after or await rules.newest(conn, name))
    return Compared(
        name=name,
        before=old.version,
        after=new.version,
        differences=differences(old.rules, new.rules),
    )


@router.get("/{name}/versions/{version}", responses=problems.documented(404))
async def one(access: ReadsRules, services: Serving, name: SetName, version: Number) -> Kept:
    """A version whole."""
    return await _get(access, services, name, version)


@router.get(
    "/{name}/versions/{version}/yaml",
    response_class=Response,
    responses={
        **problems.documented(404),
        200: {"content": {"application/yaml": {"schema": {"type": "string"}}}},
    },
)
async def export(access: ReadsRules, services: Serving, name: SetName, version: Number) -> Response:
    """A version as YAML, which `POST /v1/rules` takes and which reads back the same."""
    kept = await _get(access, services, name, version)
    return Response(documents.dump(kept.rules), media_type="application/yaml")


@router.post("/{name}/versions/{version}/activate", responses=problems.documented(404, 409))
async def activate(
    body: ChangeStatus, access: ActivatesRules, services: Serving, name: SetName, version: Number
) -> Kept:
    """
    Have orders judged by this version from now on; the one that was active is archived.

    Refused where another active set matches the same orders, or where an order could be left
    without a next step. What is decided stays decided.
    """
    _of_all(access)
    with flaws_told():
        async with transaction(services.engine) as conn:
            return await rules.activate(conn, name, version, actor(access), body.note)


@router.post("/{name}/versions/{version}/archive", responses=problems.documented(404, 409))
async def archive(
    body: ChangeStatus, access: ActivatesRules, services: Serving, name: SetName, version: Number
) -> Kept:
    """Have no order judged by this version any more; those that no set matches take the default."""
    _of_all(access)
    async with transaction(services.engine) as conn:
        return await rules.archive(conn, name, version, actor(access), body.note)


@contextmanager
def flaws_told(where: str = "") -> Iterator[None]:
    """
    What is wrong with a set as a problem that names each field; what another set does as 409.
    `where` is the set's place in the body.
    """
    try:
        yield
    except Flawed as flawed:
        if flawed.code == "overlap":
            raise Conflict(str(flawed), code=flawed.code) from flawed
        if any(not flaw.field for flaw in flawed.flaws):
            raise Invalid(str(flawed)) from flawed
        told: dict[str, str] = {}
        for flaw in flawed.flaws:
            row = f"line {flaw.row}: " if flaw.row else ""
            told.setdefault(f"{where}{flaw.field}", f"{row}{flaw.message}")
        raise Unfit(told) from flawed


def _read(body: SaveRules) -> RuleSet:
    """Compiling and checking take their time; what is compiled here is so for the saving too."""
    if body.rules is None:
        return documents.load(body.yaml)
    check(body.rules)
    return body.rules


async def _get(access: Access, services: Serving, name: str, version: int | None = None) -> Kept:
    _of_all(access)
    async with transaction(services.read_engine) as conn:
        return await rules.get(conn, name, version)


def _of_all(access: Access) -> None:
    """Raise Forbidden for a key that is bound to some channels, or nodes, only."""
    whole_network(access)
    if access.channels is not None:
        raise Forbidden("rules concern every channel; the key is bound to single channels")


def _position(cursor: str) -> tuple[str, int]:
    """Raises Invalid where no page gave this cursor."""
    try:
        name, version = json.loads(cursor)
    except (ValueError, TypeError):
        name, version = None, None
    if type(name) is not str or type(version) is not int or not 0 < version < 2**31:
        raise Invalid("cursor: not one that a page before gave")
    return name, version
