"""A row that is wrong, as it is and as it is to be: what a source of truth says of its tables."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

Key = Mapping[str, Any]
Image = Mapping[str, Any]


class Wrong(NamedTuple):
    """
    `before` is the row as it is (None: it is not there), `after` as it is to be (None: it goes).

    Without `sure` what is redundant does not tell which of two stands: a person must. A row that is
    to be made and does not know its number yet has a `key` that says where it belongs.
    """

    relation: str
    key: Key
    finding: str
    before: Image | None
    after: Image | None
    sure: bool = True

    @property
    def skus(self) -> set[str]:
        """The SKUs whose units it concerns."""
        images: tuple[Image | None, ...] = (self.key, self.before, self.after)
        return {image["sku"] for image in images if image and image.get("sku")}


class Scope(NamedTuple):
    """What to look at: everything, or some SKUs, or the row with one key."""

    skus: Collection[str] | None = None
    relation: str | None = None
    key: Key | None = None

    @property
    def asked(self) -> dict[str, Any]:
        return {"skus": None if self.skus is None else sorted(self.skus)}


Find = Callable[[AsyncConnection, Scope], Awaitable[list[Wrong]]]


class Source(NamedTuple):
    """
    One way to know the truth. `invariant` is the one that its findings break; None where a check of
    the auditor tells of them already.
    """

    kind: str
    find: Find
    invariant: int | None = None
