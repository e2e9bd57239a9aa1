"""
What changed in stock since it was last asked: no row carries a version, and no writer pays for it.

Every change of units is a movement, every change of a rule is logged, and nodes are few enough to
be compared as a whole. Ids are drawn before their transaction commits, so they become visible out
of order: the feed reads again from the last id below which none can still appear.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# More than this, and it is cheaper to read anew what is asked for.
_MOST_ROWS: Final = 50_000

# `oldest`: no transaction below it is under way; `next`: none from there on had begun to write.
_NOW: Final = text("""
SELECT statement_timestamp() AS as_of,
  pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest,
  pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next,
  (SELECT coalesce(max(id), 0) FROM movements) AS moved,
  (SELECT coalesce(max(id), 0) FROM stock_rule_log) AS ruled,
  (SELECT coalesce(sum(hashtextextended(code || ' ' || xmin::text, 0)), 0)::text FROM nodes)
    AS nodes
""")
_CHANGED: Final = text("""
SELECT DISTINCT sku, coalesce(node, '') AS node, false AS ruled FROM movements WHERE id > :moved
UNION ALL
SELECT DISTINCT sku, '', true FROM stock_rule_log WHERE id > :ruled
""")


class _Mark(NamedTuple):
    """Ids up to these have all appeared once every transaction below `next` has ended."""

    next: int
    moved: int
    ruled: int


@dataclass(frozen=True)
class Changes:
    """
    What may have changed up to `as_of`, the moment of this transaction.

    `everything`, or the shelves of these (SKU, node), the promises of these SKUs (node ""), and the
    rules of `ruled`.
    """

    as_of: datetime
    everything: bool = False
    shelves: frozenset[tuple[str, str]] = frozenset()
    ruled: frozenset[str] = frozenset()

    def skus(self) -> set[str]:
        return {sku for sku, _ in self.shelves} | self.ruled


class Feed:
    """
    One reader's place in the changes, for one task at a time.

    It says of a change once or several times, never not at all: a writer draws its ids after it has
    taken a row lock, as every verb on stock does.
    """

    def __init__(self) -> None:
        self._marks: deque[_Mark] = deque()
        self._read: _Mark | None = None
        self._nodes = ""

    async def poll(self, conn: AsyncConnection) -> Changes:
        """To be asked first in a transaction of one moment (`standing.one_moment`)."""
        now = (await conn.execute(_NOW)).one()
        read, nodes_changed = self._read, now.nodes != self._nodes
        self._note(now)
        behind = now.moved + now.ruled - (read.moved + read.ruled if read else 0)
        if read is None or nodes_changed or not 0 <= behind <= _MOST_ROWS:
            return Changes(now.as_of, everything=True)
        if not behind:
            return Changes(now.as_of)
        asked = {"moved": read.moved, "ruled": read.ruled}
        return _changes(now.as_of, (await conn.execute(_CHANGED, asked)).all())

    def _note(self, now: Any) -> None:
        self._nodes = now.nodes
        self._marks.append(_Mark(now.next, now.moved, now.ruled))
        while self._marks and self._marks[0].next <= now.oldest:
            self._read = self._marks.popleft()


def _changes(as_of: datetime, rows: Collection[Any]) -> Changes:
    ruled = frozenset(row.sku for row in rows if row.ruled)
    if "" in ruled:  # a rule of a category, or of all
        return Changes(as_of, everything=True)
    shelves = frozenset((row.sku, row.node) for row in rows if not row.ruled)
    return Changes(as_of, shelves=shelves, ruled=ruled)
