"""The rules of the sample network, as the files beside this one say them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from domain.rules.documents import load
from domain.rules.sets import RuleSet
from storage import rules

_FILES: Final = ("sample_rules_last.yaml", "sample_rules.yaml")  # the one that is led to first


def sample_rules() -> tuple[RuleSet, ...]:
    """In the order in which they can be activated."""
    folder = Path(__file__).parent
    return tuple(load((folder / file).read_text(encoding="utf-8")) for file in _FILES)


async def activate(conn: AsyncConnection, actor: str) -> None:
    """Have them hold; what holds already stays."""
    for one in sample_rules():
        kept = await rules.save(conn, one, actor)
        await rules.activate(conn, one.name, kept.version, actor)
