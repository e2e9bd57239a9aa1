"""What the decision commands ask of an installation."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Final

from cli.target import installation
from cli.wiring import conversation, engine
from domain.errors import NotFound
from domain.sourcing.answers import Answer, answers
from domain.sourcing.explain import Counterfactual, why
from domain.sourcing.replay import Difference, again
from domain.values import Value
from storage import cooling, decisions
from storage.database import transaction
from storage.decisions import Altered, Stored

_READS: Final = ("postgres",)


class Differing(Difference):
    """A decision that did not come out as it was; `hint` is why that may be, and what to do."""

    hint: str


class Replayed(Value):
    """
    `ok`: every decision came out as it was, to the byte. `differing` counts those that did not, and
    `differences` says what of them. `other_versions` counts by version ("numpy 2.0 → 2.1") the
    decisions that another one made, also where they came out the same.
    """

    ok: bool
    decisions: int
    differing: int
    differences: tuple[Differing, ...] = ()
    other_versions: dict[str, int] = {}
    largest_bytes: int = 0


class Told(Value):
    """A decision as it lies, and its answers."""

    stored: Stored
    answers: tuple[Answer, ...]


async def shown(name: str) -> tuple[Told, ...]:
    """The decisions of an order, or the one of that id. Raises NotFound."""
    found = await _named(name)
    return tuple(Told(stored=one, answers=answers(one.record)) for one in found)


async def asked(name: str, node: str, number: int | None) -> tuple[Counterfactual, ...]:
    """
    Why not from the node; without one, from every node that the plan leaves out.

    Of the order's newest decision, or that of the round. Raises NotFound.
    """
    found = await _named(name)
    rounds = {one.record.decision.problem.round: one for one in found}
    chosen = rounds.get(max(rounds) if number is None else number)
    if chosen is None:
        raise NotFound(f"{name} has no decision {number}; it has {_listed(rounds)}")
    known = [c.node for c in chosen.record.decision.problem.candidates]
    if node and node not in known:
        raise NotFound(f"the decision looked at no node {node}; it knows {_listed(known)}")
    used = {a.node for a in chosen.record.decision.plan.assignments}
    nodes = [node] if node else [one for one in known if one not in used]
    return tuple(why(chosen.record, one) for one in nodes)


async def replayed(name: str) -> Replayed:
    """Decided again: all decisions of an order, the one of that id, or, without a name, all."""
    differing: list[Differing] = []
    versions: Counter[str] = Counter()
    count = largest = 0
    async for stored in _every() if not name else _of_name(name):
        count += 1
        if isinstance(stored, Altered):
            differing.append(_altered(stored))
            continue
        largest = max(largest, stored.bytes)
        found = await asyncio.to_thread(again, stored.record)
        versions.update(f"{name} {change}" for name, change in found.versions.items())
        if found.parts:
            differing.append(Differing(**dict(found), hint=_hint(found)))
    return Replayed(
        ok=not differing,
        decisions=count,
        differing=len(differing),
        differences=tuple(differing),
        other_versions=dict(versions),
        largest_bytes=largest,
    )


def _altered(found: Altered) -> Differing:
    hint = f"{found.reason}; it was altered in the database: restore it from a backup"
    return Differing(decision_id=found.decision_id, parts=("record",), hint=hint)


def _hint(found: Difference) -> str:
    if not found.versions:
        return "the versions are the same, so the rules of deciding have changed since; report it"
    changes = ", ".join(f"{name} {change}" for name, change in found.versions.items())
    return f"decided by other versions ({changes}): replay with those to have the same bytes"


async def _every() -> AsyncIterator[Stored | Altered]:
    """A page at a time, each read in a transaction of its own: solving may take long."""
    after: tuple[str, int] | None = decisions.FIRST
    async with (
        installation(start=_READS) as settings,
        engine(settings, read_only=True) as opened,
    ):
        while after is not None:
            async with transaction(opened) as conn:
                page = await decisions.page(conn, after)
            for stored in page:
                yield stored
            after = _place(page[-1]) if page else None


def _place(stored: Stored | Altered) -> tuple[str, int]:
    of = stored if isinstance(stored, Altered) else stored.record.decision.problem
    return of.order_id, of.round


async def _of_name(name: str) -> AsyncIterator[Stored]:
    for stored in await _named(name):
        yield stored


async def _named(name: str) -> tuple[Stored, ...]:
    """Raises NotFound where the name is no order's that was decided, and no decision's."""
    async with conversation(start=_READS, read_only=True) as conn:
        one = await decisions.record(conn, name)
        found = (one,) if one else await decisions.records(conn, name)
        until = None if found else await cooling.due(conn, name)
    if until is not None:
        raise NotFound(
            f"{name} is not decided yet: it waits until {until:%Y-%m-%d %H:%M:%S} UTC to be sourced"
            " together with other orders; ./crossdock batches now has it decided at once"
        )
    if not found:
        raise NotFound(f"no decision {name}, nor an order of that name that was decided")
    return found


def _listed(names: Iterable[object]) -> str:
    return ", ".join(str(name) for name in names) or "none"
