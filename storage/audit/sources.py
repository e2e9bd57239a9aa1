"""The sources of truth, in the order in which they are asked: what leans on another comes later."""

from typing import Final

from storage.audit import copies, promised, shelves
from storage.audit.wrong import Source

SOURCES: Final = (
    Source("copy", copies.find, invariant=1),
    Source("reservation", promised.heads, invariant=1),
    Source("line", promised.lines, invariant=1),
    Source("shelf", shelves.find),
    Source("counted", shelves.counted, invariant=1),
    Source("untold", promised.untold),
    Source("pool", promised.pools),
)
BY_KIND: Final = {source.kind: source for source in SOURCES}
