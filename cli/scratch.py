"""A database of the moment, for benchmarks: embedded, migrated, and gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.stack.postgres import Postgres
from storage.database import migrate


@contextmanager
def postgres(*, durable: bool = True) -> Iterator[str]:
    """The url of a server of its own, migrated."""
    with tempfile.TemporaryDirectory(prefix="crossdock-") as folder:
        server = Postgres(Path(folder) / "postgres", durable=durable)
        server.start()
        try:
            migrate(server.url)
            yield server.url
        finally:
            server.stop()
            server.wipe()
