"""What is written down of a running stack, so that another command, or the next `up`, finds it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import psutil

from domain.values import Value

_CLOCK_TOLERANCE = 0.02  # seconds


class Ports(Value):
    postgres: int
    temporal: int
    ui: int
    metrics: int
    http: int
    api: int
    sandbox: int


class Process(Value):
    """`started` is the kernel's own time of start, which tells it from a later owner of its pid."""

    name: str
    pid: int
    started: float
    program: str
    state: str = "running"
    restarts: int = 0


class Record(Value):
    """What `up` last wrote of itself; `ready` once everything runs."""

    profile: str
    ports: Ports
    supervisor: Process
    processes: tuple[Process, ...] = ()
    ready: bool = False


def alive(process: Process) -> psutil.Process | None:
    """The process that was recorded; None when it ended, also when its pid is another's by now."""
    try:
        found = psutil.Process(process.pid)
        if abs(found.create_time() - process.started) > _CLOCK_TOLERANCE:
            return None
        if found.status() == psutil.STATUS_ZOMBIE:
            return None
        words = found.cmdline()
    except psutil.Error:
        return None
    named = any(Path(word).name == process.program for word in words)
    return found if named or not words else None  # it has no words yet while it is being started


def end(processes: list[psutil.Process], *, patience: float = 10) -> None:
    """Asks them to stop, and ends those that do not."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs(processes, timeout=patience)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(stubborn, timeout=patience)


def strays(record: Record | None, folder: Path) -> list[psutil.Process]:
    """
    What a killed stack left running: what it recorded, and every server on a file of its folder.

    Call it only while holding the folder's lock.
    """
    recorded = [alive(process) for process in record.processes] if record else []
    found = {process.pid: process for process in recorded if process is not None}
    found |= {process.pid: process for process in _servers_on(folder)}
    return list(found.values())


def _servers_on(folder: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, IndexError):
            words = process.cmdline()
            serves = Path(words[0]).name in {"postgres", "temporal"}
            if serves and any(Path(word).is_relative_to(folder) for word in words[1:]):
                yield process
