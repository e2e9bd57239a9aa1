"""What is still to come: who gets it first, and when so many units can be had at the earliest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol

from domain.values import Value


class Coming(NamedTuple):
    """Units of a SKU that a named supply still has to bring to its node."""

    source: str
    ref: str
    node: str
    expected_at: datetime
    units: int


Comings = Mapping[str, Sequence[Coming]]  # by SKU
Arrivals = Mapping[str, Mapping[str, int]]  # units by SKU and node


class Want(NamedTuple):
    """Units that a line of a channel's order waits for; with a node, for what comes there."""

    order_id: str
    line_id: str
    node: str | None
    units: int
    channel: str = ""


class Allowed(Protocol):
    """What may be sold of a SKU once all has come that is expected by a date."""

    def most(self, want: Want, at: datetime) -> int:
        """Units of what comes `at` that the want may have: on no later date are there too few."""

    def took(self, want: Want, at: datetime, units: int) -> None:
        """It has them."""


class Claim(NamedTuple):
    """Units of a supply that are a line's once they come."""

    order_id: str
    line_id: str
    source: str
    ref: str
    units: int


class Dated(Value):
    """From `at` on so many `units` can be had in all, what there is now among them."""

    at: datetime
    units: int


def match(
    coming: Iterable[Coming], wants: Iterable[Want], allowed: Allowed | None = None
) -> list[Claim]:
    """
    Who is to get what of a SKU: first come is first served, with what comes first of what they are
    allowed to have.

    So nobody is served, or served earlier, with what one before them still waits for.
    """
    supplies = sorted(coming, key=_by_date)
    left = [supply.units for supply in supplies]
    claims = []
    for want in wants:
        missing = want.units
        for number, supply in enumerate(supplies):
            taken = min(missing, left[number]) if want.node in {None, supply.node} else 0
            if taken and allowed is not None:
                taken = min(taken, allowed.most(want, supply.expected_at))
            if taken > 0:
                if allowed is not None:
                    allowed.took(want, supply.expected_at, taken)
                claims.append(Claim(want.order_id, want.line_id, supply.source, supply.ref, taken))
                left[number] -= taken
                missing -= taken
    return claims


def outlook(
    as_of: datetime, coming: Comings, to_sell: Callable[[Arrivals], int]
) -> tuple[Dated, ...]:
    """
    What can be had from each date on: what `to_sell` says once all that is expected by then has
    come. `coming` is less what others claim of it.

    What is overdue is told as of now: nobody knows better.
    """
    dates = [Dated(at=as_of, units=to_sell({}))]
    for at in _dates(as_of, coming):
        if (units := to_sell(arrivals(coming, at))) > dates[-1].units:
            dates.append(Dated(at=at, units=units))
    return tuple(dates)


def earliest(quantity: int, dates: Sequence[Dated]) -> datetime | None:
    """The first date on which so many can be had; None where it is not known."""
    return next((dated.at for dated in dates if dated.units >= quantity), None)


def whole_by(
    as_of: datetime, coming: Comings, enough: Callable[[Arrivals], bool]
) -> datetime | None:
    """The first date on which what has come by then is enough; None where none is known."""
    return next((at for at in _dates(as_of, coming) if enough(arrivals(coming, at))), None)


def arrivals(coming: Comings, by: datetime) -> Arrivals:
    """What comes until then, by SKU and node."""
    came: dict[str, Counter[str]] = {}
    for sku, supplies in coming.items():
        for supply in supplies:
            if supply.expected_at <= by:
                came.setdefault(sku, Counter())[supply.node] += supply.units
    return came


def arrived(
    stock: Mapping[str, Mapping[str, int]], coming: Mapping[str, Iterable[Coming]], by: datetime
) -> dict[str, dict[str, int]]:
    """The stock by node and SKU once all has come that is expected by then."""
    after = {node: dict(shelf) for node, shelf in stock.items()}
    for sku, supplies in coming.items():
        for supply in supplies:
            if supply.expected_at <= by:
                shelf = after.setdefault(supply.node, {})
                shelf[sku] = shelf.get(sku, 0) + supply.units
    return after


def _by_date(supply: Coming) -> tuple[datetime, str, str]:
    return supply.expected_at, supply.source, supply.ref


def _dates(as_of: datetime, coming: Comings) -> list[datetime]:
    """When something comes."""
    return sorted({max(c.expected_at, as_of) for supplies in coming.values() for c in supplies})
