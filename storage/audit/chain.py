"""A shelf's movements as a chain: each begins where the last one ended, so that one lost shows."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

Units = tuple[int, int]
"""On hand and allocated."""

_SIDES: Final = ("on_hand", "allocated")
NOTHING: Final[Units] = (0, 0)


class Gap(NamedTuple):
    """A movement is missing: the units went from `was` to `now`, between these two movements."""

    was: Units
    now: Units
    last: Mapping[str, Any] | None
    next: Mapping[str, Any] | None


class Read(NamedTuple):
    """
    What a shelf's movements say once they are read to the `end` that is known otherwise.

    `mended` are rows with one figure set right by the others, `strays` belong to no place here,
    `unclear` ones contradict all around them.
    """

    mended: tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...]
    gaps: tuple[Gap, ...]
    strays: tuple[Mapping[str, Any], ...]
    unclear: tuple[Mapping[str, Any], ...]


def units(row: Mapping[str, Any], when: str) -> Units | None:
    """`before`, `delta` or `after` of a movement; None where it does not say."""
    on_hand, allocated = (row[f"{side}_{when}"] for side in _SIDES)
    return None if on_hand is None or allocated is None else (on_hand, allocated)


def ends(rows: Sequence[Mapping[str, Any]]) -> tuple[Units, ...]:
    """Where the last movement may have left the shelf: as it says, and as it adds up."""
    if not rows:
        return (NOTHING,)
    before, delta, after = (units(rows[-1], when) for when in ("before", "delta", "after"))
    if before is None or delta is None or after is None:
        return ends(rows[:-1])
    return (after, _plus(before, delta))


def read(rows: Sequence[Mapping[str, Any]], end: Units) -> Read:
    """Of movements in their order, starting from an empty shelf; any one may be gone or altered."""
    mended, gaps, strays, unclear = [], [], [], []
    was, last = NOTHING, None
    for n, row in enumerate(rows):
        before, delta, after = (units(row, when) for when in ("before", "delta", "after"))
        if before is None or delta is None or after is None:
            strays.append(row)
            continue
        following = units(rows[n + 1], "before") if n + 1 < len(rows) else end
        sums = after == _plus(before, delta)
        if before == was and not sums and after == following:
            mended.append((row, _set(row, "delta", _minus(after, before))))
        elif before == was and not sums and _plus(before, delta) == following:
            mended.append((row, _set(row, "after", following)))
            after = following
        elif before != was and _plus(was, delta) == after:
            mended.append((row, _set(row, "before", was)))
        elif before != was and sums and following == was:
            strays.append(row)
            continue
        elif before != was and sums:
            gaps.append(Gap(was, before, last, row))
        elif not sums:
            unclear.append(row)
        was, last = after, row
    if was != end:
        gaps.append(Gap(was, end, last, None))
    return Read(tuple(mended), tuple(gaps), tuple(strays), tuple(unclear))


def _set(row: Mapping[str, Any], when: str, to: Units) -> dict[str, Any]:
    return {**row, **{f"{side}_{when}": said for side, said in zip(_SIDES, to, strict=True)}}


def _plus(one: Units, other: Units) -> Units:
    return (one[0] + other[0], one[1] + other[1])


def _minus(one: Units, other: Units) -> Units:
    return (one[0] - other[0], one[1] - other[1])
