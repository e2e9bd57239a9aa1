"""The one command: its parts by name, and its errors as one line each."""

from __future__ import annotations

import os
import sys
from typing import Final, NoReturn

import typer

from cli.commands import (
    auditing,
    batches,
    decisions,
    development,
    keys,
    nodes,
    orders,
    prices,
    processes,
    rules,
    stack,
    stock,
)
from domain.errors import Outage, Refused

_INTERRUPTED: Final = 130

app = typer.Typer(
    name="crossdock",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Crossdock: open, self-hostable distributed order management on Temporal.",
)
_COMMANDS = (
    *(stack, orders, decisions, rules, batches, prices, nodes, stock),
    *(auditing, keys, processes, development),
)
for module in _COMMANDS:
    module.add_to(app)


def main() -> NoReturn:
    """Exit code 0 for done, 1 for a clear no or a failure, 2 for a command that is misspelt."""
    try:
        app(prog_name="crossdock")
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except Exception as error:
        if os.environ.get("CROSSDOCK_DEBUG", "0") not in {"", "0"}:
            raise
        sys.stderr.write(f"crossdock: {_line(error)}\n")
        sys.exit(1)
    sys.exit(0)


def _line(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    said = " ".join(str(error).split())
    if isinstance(error, Refused | Outage):
        return said
    return f"{type(error).__name__}: {said[:300]} (CROSSDOCK_DEBUG=1 shows where)"
