"""How tables look on a terminal, and in a pipe."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

_PIPE_COLUMNS = 200


def table(*columns: str, title: str | None = None) -> Table:
    """The first column names the row and is never broken."""
    made = Table(title=title)
    for number, column in enumerate(columns):
        made.add_column(column, no_wrap=number == 0)
    return made


def console(*, plain: bool = False) -> Console:
    """As wide as the terminal; in a pipe, as wide as it takes."""
    found = Console(highlight=False, no_color=plain, soft_wrap=True)
    if not found.is_terminal:
        found.width = _PIPE_COLUMNS
    return found
