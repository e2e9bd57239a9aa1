"""Loads a file of counts from this machine, with a bar to watch and a report of what is wrong."""

from __future__ import annotations

import csv
import os
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Final, TextIO

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy.ext.asyncio import AsyncEngine

from api import loading
from api.loading import Listener, Loaded
from cli.printing import console
from domain.stock_rows import BadRow

_NDJSON: Final = frozenset({".ndjson", ".jsonl"})


async def load(  # noqa: PLR0913 - what the command is asked
    engine: AsyncEngine,
    file: Path,
    report: Path,
    *,
    actor: str,
    as_of: datetime | None = None,
    again: bool = False,
) -> Loaded:
    """The report names line, field and cure of each wrong row; it is there only if there is one."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        file.open("rb") as opened,
        Progress(*columns, TimeElapsedColumn(), console=console()) as progress,
        closing(_Watching(progress, os.fstat(opened.fileno()).st_size, report)) as watching,
    ):
        return await loading.load(
            engine,
            opened,
            "ndjson" if file.suffix.lower() in _NDJSON else "csv",
            name=file.name,
            actor=actor,
            listener=watching,
            as_of=as_of,
            again=again,
        )


class _Watching(Listener):
    def __init__(self, progress: Progress, size: int, report: Path) -> None:
        self._progress = progress
        self._report = report
        self._report.unlink(missing_ok=True)
        self._opened: TextIO | None = None
        self._read = progress.add_task("KiB read", total=_kib(size))
        self._merged = progress.add_task("rows merged", total=None)

    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def staged(self, position: int) -> None:
        self._progress.update(self._read, completed=_kib(position))

    def rejected(self, row: BadRow) -> None:
        if self._opened is None:
            self._opened = self._report.open("w", encoding="utf-8", newline="")
            csv.writer(self._opened).writerow(BadRow._fields)
        csv.writer(self._opened).writerow(row)

    def merged(self, done: int, good: int) -> None:
        self._progress.update(self._merged, completed=done, total=good)


def _kib(size: int) -> int:
    return -(-size // 1024)
