"""A rule set: profiles that orders match, with what counts, what must be kept to, and what then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, NamedTuple, Self
from unicodedata import category
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StrictInt, model_validator

from domain.geography import timezones
from domain.orders import DeliveryMethod
from domain.sourcing.policy import PROFILES, Kind, Weights
from domain.values import Value

MOST_CHARACTERS: Final = 1000  # of a condition
MOST_PROFILES: Final = 50
MOST_RULES: Final = 50
MOST_IN_ALL: Final = 500
MOST_NAMED: Final = 50
STABILITY_MINOR: Final = 100
_BEGIN: Final = datetime(1, 1, 2, tzinfo=UTC)
_END: Final = datetime(9999, 12, 30, tzinfo=UTC)


def _clean(text: str) -> str:
    if any(category(char) in {"Cc", "Cs"} and char not in "\n\t" for char in text):
        raise ValueError("contains a character that cannot be kept")
    return text


def _timezone(name: str) -> str:
    if name not in timezones():
        raise ValueError("not a time zone, such as America/Chicago")
    return name


def _day(said: Any) -> Any:
    if isinstance(said, str | date):
        return said
    raise ValueError("not a day, such as 2026-12-24")


def _duration(said: Any) -> Any:
    """A bare number would be seconds, and meant as days."""
    if isinstance(said, timedelta) or (isinstance(said, str) and said.startswith("P")):
        return said
    raise ValueError("is no duration; write such as P14D, or PT12H")


Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="small letters, digits and hyphens",
        examples=["web-standard"],
    ),
]
Text = Annotated[str, Field(max_length=500), AfterValidator(_clean)]
Word = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_clean)]
When = Annotated[
    str,
    Field(max_length=MOST_CHARACTERS, description="in CEL; empty is always"),
    AfterValidator(_clean),
]
Words = Annotated[tuple[Word, ...], Field(max_length=MOST_NAMED, description="empty is any")]
Day = Annotated[date, BeforeValidator(_day), Field(ge=date(1990, 1, 1), le=date(2200, 1, 1))]


Wait = Annotated[
    timedelta,
    BeforeValidator(_duration),
    Field(ge=timedelta(0), le=timedelta(days=365), examples=["P14D"]),
]
# Less would have an order go round and round with a node that always says no.
Apart = Annotated[Wait, Field(ge=timedelta(minutes=1))]
Yes = Annotated[bool, Field(strict=True)]


class Exact(Value):
    """Knows every field it may have: half a rule would be obeyed where one is passed over."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Span(Exact):
    """Days in the rule set's time zone, the first and the last one included; None is open."""

    first: Day | None = None
    last: Day | None = None

    @model_validator(mode="after")
    def _forwards(self) -> Self:
        if self.first and self.last and self.last < self.first:
            raise ValueError("last: is before `first`; swap the two")
        return self

    def has(self, day: date) -> bool:
        return (self.first is None or self.first <= day) and (self.last is None or day <= self.last)


class Dates(Span):
    """When something holds: from the first to the last day, but for the blackout days."""

    blackout: Annotated[tuple[Span, ...], Field(max_length=100)] = ()

    def has(self, day: date) -> bool:
        return super().has(day) and not any(span.has(day) for span in self.blackout)


class Rule(Exact):
    """
    One rule: a constraint or a preference of `domain.sourcing.policy`, where `when` holds.

    A condition that speaks of `node` decides node by node, one that speaks of `line` or `product`
    line by line. One that cannot be evaluated counts as not met, or as met with `on_error: apply`.
    """

    name: Name
    kind: Kind
    when: When = ""
    hard: Yes = True
    value: Annotated[int, Field(strict=True, ge=0, le=10**12)] | None = None
    what: Annotated[str, Field(max_length=64), AfterValidator(_clean)] = ""
    dates: Dates = Dates()
    on_error: Literal["skip", "apply"] = "skip"


class Then(StrEnum):
    """
    `next`: the order, or what is left of it, is judged by another rule set. `queue`: it waits in a
    named queue. `backorder`: it waits for stock. `review`: a person decides. `cancel`: it ends.
    """

    NEXT = "next"
    QUEUE = "queue"
    BACKORDER = "backorder"
    REVIEW = "review"
    CANCEL = "cancel"


class Outcome(Exact):
    """
    What becomes of an order that found not all its units. `allocate`: the units that have a node
    leave, and the rest is what `then` speaks of; else all of it waits together. What waits
    `cancel_after` so long is cancelled.
    """

    when: When = ""
    allocate: Yes = False
    then: Then
    next: Annotated[str, Field(max_length=63)] = ""
    queue: Annotated[str, Field(max_length=64), AfterValidator(_clean)] = ""
    cancel_after: Wait | None = None


class Outcomes(Exact):
    """`partial`: some units found a node. `nothing`: none did. The first whose `when` holds."""

    partial: Annotated[tuple[Outcome, ...], Field(max_length=20)] = ()
    nothing: Annotated[tuple[Outcome, ...], Field(max_length=20)] = ()

    def named(self) -> Iterator[tuple[str, tuple[Outcome, ...]]]:
        yield "partial", self.partial
        yield "nothing", self.nothing


class Profile(Exact):
    """
    What holds for orders of these channels, methods and customers' segments; empty is any.

    `objective` is one of `policy.PROFILES`, `weights` what is otherwise in it. `review`: the plan
    waits for a person's approval. `cool_down`: so long an order waits for others of its set and
    profile, to be sourced together with them. `release_after`: so long allocated work stays with us
    before its node is asked, and may be sourced anew where that saves more than `stability_minor`.
    `retry_after`: so long a node that gave an order's work back is not asked for it again; without
    it never.
    """

    name: Name
    channels: Words = ()
    methods: Annotated[tuple[DeliveryMethod, ...], Field(max_length=2)] = ()
    segments: Words = ()
    objective: Annotated[str, Field(max_length=64)] = "lowest_cost"
    weights: Annotated[dict[str, StrictInt], Field(max_length=20)] = {}
    review: Yes = False
    cool_down: Wait | None = None
    release_after: Wait | None = None
    retry_after: Apart | None = None
    stability_minor: Annotated[int, Field(strict=True, ge=0, le=10**9)] = STABILITY_MINOR
    rules: Annotated[tuple[Rule, ...], Field(max_length=MOST_RULES)] = ()
    outcomes: Outcomes

    def matches(self, channel: str, method: DeliveryMethod, segment: str) -> bool:
        return (
            (not self.channels or channel in self.channels)
            and (not self.methods or method in self.methods)
            and (not self.segments or segment in self.segments)
        )

    def weighed(self) -> Weights:
        """Raises ValueError where the objective or a weight is none."""
        return Weights.model_validate(PROFILES[self.objective].model_dump() | self.weights)


class RuleSet(Exact):
    """
    Rules that are kept, activated and archived together.

    Orders come to an `entry` set by themselves, to others by some set's `next`. On days on which no
    set holds for an order the built-in policy does.
    """

    name: Name
    owner: Annotated[Word, Field(description="who answers for it")]
    note: Text = ""
    timezone: Annotated[str, Field(max_length=64), AfterValidator(_timezone)] = "UTC"
    entry: Yes = True
    dates: Dates = Dates()
    profiles: Annotated[tuple[Profile, ...], Field(min_length=1, max_length=MOST_PROFILES)]

    def day(self, now: datetime) -> date:
        return now.astimezone(ZoneInfo(self.timezone)).date()

    def profile(self, channel: str, method: DeliveryMethod, segment: str) -> Profile | None:
        found = (p for p in self.profiles if p.matches(channel, method, segment))
        return next(found, None)

    def periods(self) -> tuple[tuple[datetime, datetime], ...]:
        """When it holds, as instants, each without its end, in their order."""
        start, end = self._instants(self.dates)
        periods = []
        for first, last in sorted(self._instants(span) for span in self.dates.blackout):
            if start < min(first, end):
                periods.append((start, min(first, end)))
            start = max(start, last)
        return (*periods, (start, end)) if start < end else tuple(periods)

    def _instants(self, span: Span) -> tuple[datetime, datetime]:
        zone = ZoneInfo(self.timezone)

        def midnight(day: date) -> datetime:
            return datetime.combine(day, time(), zone).astimezone(UTC)

        return (
            midnight(span.first) if span.first else _BEGIN,
            midnight(span.last + timedelta(days=1)) if span.last else _END,
        )


class Version(NamedTuple):
    """A rule set as it was kept under a number; `label` is what decisions name it by."""

    rules: RuleSet
    number: int

    @property
    def label(self) -> str:
        return f"{self.rules.name}@{self.number}"
