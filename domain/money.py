"""Money is an integer of minor units and a currency. It never meets a float."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Annotated

from babel.core import get_global
from pydantic import Field

from domain.errors import Invalid
from domain.values import Value

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$", examples=["USD", "JPY", "KWD"])]


class Money(Value):
    """An amount in minor units: 12.34 USD is 1234, 500 JPY is 500, 1.234 KWD is 1234."""

    minor: int
    currency: Currency

    def __add__(self, other: Money) -> Money:
        if other.currency != self.currency:
            raise Invalid(f"cannot add {other.currency} to {self.currency}")
        return Money(minor=self.minor + other.minor, currency=self.currency)

    def split(self, weights: Sequence[int]) -> tuple[Money, ...]:
        """Split by weight and lose nothing: the largest remainders get the odd units."""
        total = sum(weights)
        if total <= 0:
            raise Invalid("weights must add up to more than zero")
        shares = [self.minor * weight // total for weight in weights]
        remainders = [self.minor * weight % total for weight in weights]
        by_remainder = sorted(range(len(weights)), key=lambda i: (-remainders[i], i))
        for i in by_remainder[: self.minor - sum(shares)]:
            shares[i] += 1
        return tuple(Money(minor=share, currency=self.currency) for share in shares)

    def __str__(self) -> str:
        digits = exponent(self.currency)
        return f"{Decimal(self.minor).scaleb(-digits):,.{digits}f} {self.currency}"


def exponent(currency: str) -> int:
    """How many decimals the currency has (ISO 4217, as CLDR carries it): JPY 0, USD 2, KWD 3."""
    fractions = get_global("currency_fractions")
    digits: int = fractions.get(currency, fractions["DEFAULT"])[0]
    return digits


def parse(amount: str | int | Decimal | None, currency: str) -> Money:
    """Read a partner's decimal amount ("12.30", 12.3 as text). None is zero. Raises Invalid."""
    try:
        value = Decimal(str(amount if amount is not None else 0))
        minor = value.scaleb(exponent(currency)).to_integral_value(ROUND_HALF_EVEN)
        return Money(minor=int(minor), currency=currency)
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise Invalid(f"not an amount of {currency}: {amount!r}") from error
