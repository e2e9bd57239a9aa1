"""How what people read about a decision says money, moments, numbers and lists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from domain.money import Money

# Reasons are recorded with the plural only, and a replay must come to the same bytes.
_OF_ONE: Final = {"units stay": "unit stays", "open orders": "open order", "miles": "mile"}
_ONE: Final = re.compile(rf"\b1 ({'|'.join(_OF_ONE)})\b")


def money(minor: int, currency: str) -> str:
    return str(Money(minor=minor, currency=currency))


def moment(when: datetime) -> str:
    return f"{when:%a %d %b %H:%M} UTC"


def count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"


def reworded(reason: str) -> str:
    """A recorded reason as people read it."""
    return _ONE.sub(lambda found: f"1 {_OF_ONE[found[1]]}", reason)


def joined(parts: Iterable[str]) -> str:
    *most, last = list(parts) or [""]
    return f"{', '.join(most)} and {last}" if most else last
