"""A cart's lines as the catalogue knows them: by its own names, a kit by its components."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from api.problems import Unfit
from domain.kits import exploded
from domain.orders import Units
from storage import kits, network


class Line(Protocol):
    @property
    def sku(self) -> str: ...

    @property
    def quantity(self) -> int: ...


async def units_of(
    conn: AsyncConnection, lines: Sequence[Line], line_ids: Sequence[str]
) -> tuple[Units, ...]:
    """Raises Unfit(unknown_sku), naming each line whose product is none."""
    found = await network.resolve_skus(conn, [(line.sku,) for line in lines])
    unknown = {
        f"lines.{i}.sku": f"{line.sku} is not in the catalogue; correct it, or leave it out"
        for i, (line, sku) in enumerate(zip(lines, found, strict=True))
        if sku is None
    }
    if unknown:
        raise Unfit(unknown, code="unknown_sku")
    sold = [
        Units(line_id=name, sku=sku or "", quantity=line.quantity)
        for name, line, sku in zip(line_ids, lines, found, strict=True)
    ]
    return exploded(sold, await kits.recipes(conn, [line.sku for line in sold]))
