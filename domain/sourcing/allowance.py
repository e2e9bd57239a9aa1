"""The counted work that several solves may take together, so that no question takes for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Spent(Exception):
    """More work than was allowed."""


_left: ContextVar[list[float] | None] = ContextVar("left", default=None)


@contextmanager
def allowed(work: float) -> Iterator[None]:
    """
    The solves inside may take so much of CP-SAT's deterministic time together, then Spent is
    raised: always at the same solve. Inside another allowance that one holds. What the kernel takes
    is little, and not counted.
    """
    if _left.get() is not None:
        yield
        return
    token = _left.set([work])
    try:
        yield
    finally:
        _left.reset(token)


def left() -> float:
    """How much may still be taken; raises Spent where it is nothing."""
    spend(0)
    now = _left.get()
    return float("inf") if now is None else now[0]


def spend(work: float) -> None:
    """Raises Spent where that was the last of it: what was found then may not be the best."""
    now = _left.get()
    if now is not None:
        now[0] -= work
        if now[0] <= 0:
            raise Spent
