"""
Stock as partners tell of it: snapshots and changes, late, twice and out of order.

Of each shelf (SKU at a node) a source numbers what it says. A snapshot with sequence Q has in it
every change of its source up to Q, and what we booked ourselves up to its time; a change is what
happened otherwise than by our own shipments and receipts. So, whatever the order of arrival, what
is there is what the newest snapshot counted, and its source's changes with a higher sequence, and
what we booked after its time. What others stated (a count, a file, another source) is told apart by
time: the latest statement holds, and changes up to its time are in it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from domain.values import Value
from storage import kits, ledger, network
from storage.ledger import Entry, Why

# A partner's clock may be so much ahead of ours; what is later cannot be meant.
AHEAD: Final = timedelta(minutes=5)

Reason = Literal["received", "returned", "sold", "moved", "damaged", "lost", "found", "adjusted"]
_Place = tuple[str, str]


class Snapshot(Value):
    """What lies on the shelf: `on_hand` units, allocated ones among them."""

    node: str
    sku: str
    sequence: int
    at: datetime
    on_hand: int


class Delta(Value):
    """What came or went otherwise than by our own shipments and receipts."""

    node: str
    sku: str
    sequence: int
    at: datetime
    change: int
    reason: Reason = "adjusted"


Report = Snapshot | Delta


class Rejected(Value):
    """A row that was not taken in; `message` names the cure. The others are."""

    row: int
    field: str
    code: Literal["unknown_sku", "is_kit", "unknown_node", "in_the_future", "sequence_reused"]
    message: str


class ShortShelf(Value):
    sku: str
    node: str
    short: int


class Taken(Value):
    """
    What became of the rows. `absorbed`: already in what was counted later; `duplicate`: had before.

    `short` are the shelves of this feed with fewer units than are allocated; `more` the SKUs of
    which there is more than before.
    """

    new: bool
    applied: int
    absorbed: int
    duplicate: int
    rejected: tuple[Rejected, ...]
    short: tuple[ShortShelf, ...]
    more: tuple[str, ...]


async def take(
    conn: AsyncConnection, source: str, feed_id: str, reports: Sequence[Report], actor: str
) -> Taken:
    """
    Take in what a source says, each row once. A SKU may be named by an alias.

    Rows that cannot be are answered and leave the others be; sending the feed again, mended or not,
    takes in what was not taken in before.
    """
    new = await ledger.first_time(conn, "feed", f"{source}:{feed_id}")
    feed = _Feed(source, f"{source}/{feed_id}", actor)
    meant = await feed.known(conn, reports)
    nodes = await ledger.lock_nodes(conn, {place[1] for place, _, _ in meant})
    places = {place for place, _, _ in meant}
    await ledger.open_shelves(conn, places)
    await feed.look(conn, meant)
    feed.sort(meant)
    await feed.keep(conn)
    told = await feed.postings(conn)
    await ledger.post_all(conn, told, nodes)
    await ledger.counted(conn, {p: s.at for p, s in feed.ruling.items()}, f"feed:{source}")
    came: Counter[str] = Counter()
    for entry, _ in told:
        came[entry.sku] += entry.on_hand
    return Taken(
        new=new,
        applied=feed.outcomes["applied"],
        absorbed=feed.outcomes["absorbed"],
        duplicate=feed.outcomes["duplicate"],
        rejected=tuple(sorted(feed.rejected, key=lambda rejected: rejected.row)),
        short=await _short(conn, places),
        more=tuple(sorted(sku for sku, units in came.items() if units > 0)),
    )


class _Shelf(NamedTuple):
    """`sequence` is the newest snapshot's of this source, which counted `stated`."""

    there: int
    counted_at: datetime | None
    counted_by: str | None
    sequence: int | None
    stated: int | None


_Row = tuple[_Place, int, Report]


class _Feed:
    """One feed on its way in: first all is read and judged, then all is written."""

    def __init__(self, source: str, key: str, actor: str) -> None:
        self._source = source
        self._key = key
        self._actor = actor
        self._shelves: dict[_Place, _Shelf] = {}
        self._stored: dict[tuple[_Place, int], int] = {}
        self._now: datetime
        self._snapshots: dict[_Place, Snapshot] = {}
        self._deltas: dict[tuple[_Place, int], Delta] = {}
        # The new snapshots that nobody else's later statement holds against.
        self.ruling: dict[_Place, Snapshot] = {}
        self.outcomes: Counter[str] = Counter()
        self.rejected: list[Rejected] = []

    async def known(self, conn: AsyncConnection, reports: Sequence[Report]) -> list[_Row]:
        """The rows of nodes and products that there are, each with the SKU that it means."""
        skus = await network.resolve_skus(conn, [(report.sku,) for report in reports])
        there = await conn.execute(
            text("SELECT code FROM nodes WHERE code = ANY(:codes)"),
            {"codes": list({report.node for report in reports})},
        )
        nodes = set(there.scalars())
        made_of_others = await kits.recipes(conn, [sku for sku in skus if sku])
        meant: list[_Row] = []
        for row, (report, sku) in enumerate(zip(reports, skus, strict=True)):
            if report.node not in nodes:
                self._reject(row, "node", "unknown_node", f"there is no node {report.node}")
            elif sku is None:
                cure = f"no product or alias {report.sku}; describe it with PUT /v1/products first"
                self._reject(row, "sku", "unknown_sku", cure)
            elif sku in made_of_others:
                self._reject(row, "sku", "is_kit", kits.is_kit(sku))
            else:
                meant.append(((sku, report.node), row, report))
        return meant

    async def look(self, conn: AsyncConnection, meant: Sequence[_Row]) -> None:
        """What is known of these shelves, and which of these changes were told before."""
        places = list({place for place, _, _ in meant})
        for row in await conn.execute(_SHELVES, self._columns(places)):
            self._shelves[row.sku, row.node] = _Shelf(
                row.there, row.counted_at, row.counted_by, row.sequence, row.stated
            )
            self._now = row.now
        changes = [(place, r.sequence) for place, _, r in meant if isinstance(r, Delta)]
        asked = self._columns([place for place, _ in changes])
        asked["sequences"] = [sequence for _, sequence in changes]
        for row in await conn.execute(_STORED, asked):
            self._stored[(row.sku, row.node), row.sequence] = row.change

    def sort(self, meant: Sequence[_Row]) -> None:
        """Snapshots first: what they have in them is seen by the changes that come with them."""
        for place, row, report in meant:
            if report.at > self._now + AHEAD:
                cure = f"lies in the future: it is {self._now:%Y-%m-%dT%H:%M:%SZ} here"
                self._reject(row, "at", "in_the_future", cure)
            elif isinstance(report, Snapshot):
                self._sort_snapshot(place, row, report)
        for place, snapshot in self._snapshots.items():
            if self._rules(self._shelves[place], snapshot.at):
                self.ruling[place] = snapshot
        for place, row, report in meant:
            if isinstance(report, Delta) and report.at <= self._now + AHEAD:
                self._sort_delta(place, row, report)

    async def keep(self, conn: AsyncConnection) -> None:
        """Write down positions and changes; what a snapshot has in it need not be kept."""
        positions = list(self._snapshots.items())
        await conn.execute(
            _POSITION,
            {
                **self._columns([place for place, _ in positions]),
                "sequences": [snapshot.sequence for _, snapshot in positions],
                "on_hand": [snapshot.on_hand for _, snapshot in positions],
                "at": [snapshot.at for _, snapshot in positions],
            },
        )
        old = self._columns(list(self.ruling))
        old["sequences"] = [snapshot.sequence for snapshot in self.ruling.values()]
        await conn.execute(_FORGET, old)
        deltas = list(self._deltas.items())
        await conn.execute(
            _CHANGE,
            {
                **self._columns([place for (place, _), _ in deltas]),
                "sequences": [delta.sequence for _, delta in deltas],
                "changes": [delta.change for _, delta in deltas],
                "at": [delta.at for _, delta in deltas],
            },
        )

    async def postings(self, conn: AsyncConnection) -> list[tuple[Entry, Why]]:
        """What the rows change on their shelves."""
        asked = self._columns(list(self.ruling))
        asked["sequences"] = [snapshot.sequence for snapshot in self.ruling.values()]
        asked["at"] = [snapshot.at for snapshot in self.ruling.values()]
        since = {(r.sku, r.node): r.units for r in await conn.execute(_SINCE, asked)}
        told = [
            (
                Entry(*place, on_hand=snapshot.on_hand + since[place] - self._shelves[place].there),
                self._why(f"counted {snapshot.on_hand} by {self._source}"),
            )
            for place, snapshot in self.ruling.items()
        ]
        return told + [
            (Entry(*place, on_hand=delta.change), self._why(f"{delta.reason}, says {self._source}"))
            for (place, _), delta in self._deltas.items()
            if place not in self.ruling and self._rules(self._shelves[place], delta.at, later=True)
        ]

    def _sort_snapshot(self, place: _Place, row: int, sent: Snapshot) -> None:
        shelf = self._shelves[place]
        known = self._snapshots.get(place)
        sequence = known.sequence if known else shelf.sequence
        stated = known.on_hand if known else shelf.stated
        if sequence is not None and sent.sequence == sequence:
            self._again(row, sent.sequence, same=sent.on_hand == stated)
        elif sequence is not None and sent.sequence < sequence:
            self.outcomes["absorbed"] += 1
        else:
            if known is not None:
                self._overtaken(shelf, known)
            snapshot = sent.model_copy(update={"at": min(sent.at, self._now)})
            self._snapshots[place] = snapshot
            self.outcomes["applied" if self._rules(shelf, snapshot.at) else "absorbed"] += 1

    def _overtaken(self, shelf: _Shelf, snapshot: Snapshot) -> None:
        """A newer one came in the same feed."""
        if self._rules(shelf, snapshot.at):
            self.outcomes.update(applied=-1, absorbed=1)

    def _sort_delta(self, place: _Place, row: int, sent: Delta) -> None:
        shelf = self._shelves[place]
        snapshot = self._snapshots.get(place)
        upto = snapshot.sequence if snapshot else shelf.sequence
        told = place, sent.sequence
        before = self._deltas[told].change if told in self._deltas else self._stored.get(told)
        if upto is not None and sent.sequence <= upto:
            self.outcomes["absorbed"] += 1
        elif before is not None:
            self._again(row, sent.sequence, same=sent.change == before)
        else:
            self._deltas[told] = sent.model_copy(update={"at": min(sent.at, self._now)})
            counts = place in self.ruling or self._rules(shelf, sent.at, later=True)
            self.outcomes["applied" if counts else "absorbed"] += 1

    def _rules(self, shelf: _Shelf, at: datetime, *, later: bool = False) -> bool:
        """Whether what the source says of this time holds against what others stated."""
        if shelf.counted_at is None or shelf.counted_by == f"feed:{self._source}":
            return True
        return at > shelf.counted_at if later else at >= shelf.counted_at

    def _again(self, row: int, sequence: int, *, same: bool) -> None:
        if same:
            self.outcomes["duplicate"] += 1
        else:
            cure = f"{sequence} was sent before with another number; give each report its own"
            self._reject(row, "sequence", "sequence_reused", cure)

    def _reject(self, row: int, field: str, code: Any, message: str) -> None:
        self.rejected.append(Rejected(row=row, field=field, code=code, message=message))

    def _why(self, cause: str) -> Why:
        return Why(cause, self._actor, self._key, stated_by=f"feed:{self._source}")

    def _columns(self, places: Sequence[_Place]) -> dict[str, Any]:
        return {
            "source": self._source,
            "skus": [sku for sku, _ in places],
            "nodes": [node for _, node in places],
        }


async def _short(conn: AsyncConnection, places: set[_Place]) -> tuple[ShortShelf, ...]:
    shelves: Mapping[_Place, ledger.Shelf] = await ledger.lock_stock(conn, places)
    return tuple(
        ShortShelf(sku=sku, node=node, short=shelf.short)
        for (sku, node), shelf in sorted(shelves.items())
        if shelf.short
    )


_PLACES: Final = "unnest(CAST(:skus AS text[]), CAST(:nodes AS text[])"
_SEQUENCES: Final = ", CAST(:sequences AS bigint[])"
_SHELVES: Final = text(f"""
SELECT s.sku, s.node, s.on_hand - s.short AS there, s.counted_at, s.counted_by, p.sequence,
  p.on_hand AS stated, clock_timestamp() AS now
FROM {_PLACES}) AS d (sku, node) JOIN stock AS s ON s.sku = d.sku AND s.node = d.node
LEFT JOIN feed_positions AS p ON p.sku = d.sku AND p.node = d.node AND p.source = :source
""")  # noqa: S608 - of constants, as all here
_STORED: Final = text(f"""
SELECT f.sku, f.node, f.sequence, f.change FROM {_PLACES}{_SEQUENCES}) AS d (sku, node, sequence)
JOIN feed_deltas AS f ON f.sku = d.sku AND f.node = d.node AND f.source = :source
  AND f.sequence = d.sequence
""")  # noqa: S608
_POSITION: Final = text(f"""
INSERT INTO feed_positions (sku, node, source, sequence, on_hand, at)
SELECT sku, node, :source, sequence, on_hand, at
FROM {_PLACES}{_SEQUENCES}, CAST(:on_hand AS integer[]), CAST(:at AS timestamptz[]))
  AS d (sku, node, sequence, on_hand, at)
ON CONFLICT (sku, node, source) DO UPDATE SET
  sequence = excluded.sequence, on_hand = excluded.on_hand, at = excluded.at
""")  # noqa: S608
_FORGET: Final = text(f"""
DELETE FROM feed_deltas AS f USING {_PLACES}{_SEQUENCES}) AS d (sku, node, sequence)
WHERE f.sku = d.sku AND f.node = d.node AND f.source = :source AND f.sequence <= d.sequence
""")  # noqa: S608
_CHANGE: Final = text(f"""
INSERT INTO feed_deltas (sku, node, source, sequence, change, at)
SELECT sku, node, :source, sequence, change, at
FROM {_PLACES}{_SEQUENCES}, CAST(:changes AS integer[]), CAST(:at AS timestamptz[]))
  AS d (sku, node, sequence, change, at)
""")  # noqa: S608
_SINCE: Final = text(f"""
SELECT d.sku, d.node, (
    SELECT coalesce(sum(f.change), 0) FROM feed_deltas AS f
    WHERE f.sku = d.sku AND f.node = d.node AND CASE WHEN f.source = :source
      THEN f.sequence > d.sequence ELSE f.at > d.at END)::integer + (
    SELECT coalesce(sum(m.on_hand_delta), 0) FROM movements AS m
    WHERE m.sku = d.sku AND m.node = d.node AND m.at > d.at
      AND m.stated_by IS NULL AND m.on_hand_delta <> 0)::integer AS units
FROM {_PLACES}{_SEQUENCES}, CAST(:at AS timestamptz[])) AS d (sku, node, sequence, at)
""")  # noqa: S608
