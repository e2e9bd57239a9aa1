"""How what people read about a decision says money, moments, numbers and lists."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from domain.money import Money


def money(minor: int, currency: str) -> str:
    return str(Money(minor=minor, currency=currency))


def moment(when: datetime) -> str:
    return f"{when:%a %d %b %H:%M} UTC"


def count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def joined(parts: Iterable[str]) -> str:
    *most, last = list(parts) or [""]
    return f"{', '.join(most)} and {last}" if most else last
