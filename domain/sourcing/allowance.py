"""The counted work that several solves may take together, so that no question takes for ever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


class Spent(Exception):
    """More work than was allowed. `bound` is what a solver had proven by then of its goal."""

    def __init__(self, bound: float | None = None) -> None:
        super().__init__("more work than was allowed")
        self.bound = bound


class Stopped(Exception):
    """Nobody waits for the answer any more."""


class Work:
    """
    All the counted work of one request, in about seconds of a core that has other work beside.

    CP-SAT's deterministic time leaves out what large models cost, and what the kernel does; here
    all of it counts. `left` of it, `part` by part, and from any thread it can be ended: `stop`.
    """

    def __init__(self, most: float) -> None:
        self.left = most
        self.must = False
        self._kept = 0.0
        self._stopped = False
        self._halt: Callable[[], None] | None = None

    @contextmanager
    def part(self, *, keeping: float = 0.0, must: bool = False) -> Iterator[None]:
        """
        What is solved inside leaves so much over. Where there `must` be an answer, a solve takes
        half of what there is, so that the next ones have some; Spent is raised only before one.
        """
        self._kept, self.must = keeping, must
        token = _work.set(self)
        try:
            yield
        finally:
            _work.reset(token)

    @property
    def solving(self) -> bool:
        """Whether a solver is at work that can be halted."""
        return self._halt is not None

    def stop(self) -> None:
        """Stopped is raised at the next solve; the one at work ends, unless it only just begins."""
        self._stopped = True
        if halt := self._halt:
            halt()

    def next(self) -> float:
        """How much the next solve may take; raises Spent where it is nothing."""
        if self._stopped:
            raise Stopped
        there = self.left - self._kept
        if there <= 0:
            raise Spent
        return there / 2 if self.must else there

    def take(self, work: float) -> None:
        self.left -= work
        if self._stopped or not self.must:
            self.next()

    @contextmanager
    def halting(self, halt: Callable[[], None]) -> Iterator[None]:
        """What ends the solve inside."""
        self._halt = halt
        try:
            yield
        finally:
            self._halt = None


_left: ContextVar[list[float] | None] = ContextVar("left", default=None)
_work: ContextVar[Work | None] = ContextVar("work", default=None)


@contextmanager
def allowed(work: float) -> Iterator[None]:
    """
    The solves inside may take so much of CP-SAT's deterministic time together, then Spent is
    raised: always at the same solve. Inside another allowance, or the work of a request, that one
    holds. What the kernel takes is little, and not counted.
    """
    if _left.get() is not None or _work.get() is not None:
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


def bounded() -> Work | None:
    """The request whose work this is; None where nobody counts all of it."""
    return _work.get()


def take(work: float) -> None:
    """As `spend`, of what only the work of a request counts."""
    if (now := _work.get()) is not None:
        now.take(work)
