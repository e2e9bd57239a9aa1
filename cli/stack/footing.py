"""Decides as whom and where PostgreSQL runs: it refuses root, and other users may not reach us."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Literal

from cli.stack import child
from domain.errors import Refused
from domain.values import Value

Kind = Literal["self", "namespace", "user"]
_PRIVATE = Path("/var/lib/crossdock")
_OWN_USER = "crossdock"


class Footing(Value):
    """`prefix` goes before a command; `programs` and `cluster` are folders that it can reach."""

    kind: Kind
    user: str = ""
    programs: Path
    cluster: Path

    def prefix(self, *, parent: int = 0, signal: int = 15) -> list[str]:
        way = {"self": [], "namespace": ["--namespace"], "user": ["--user", self.user]}[self.kind]
        fate = ["--parent", str(parent), "--signal", str(signal)] if parent else []
        return [sys.executable, "-I", child.__file__, *way, *fate, "--"]

    def give(self, folder: Path) -> None:
        """Makes the folder the server's own, and nobody else's."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.kind == "user":
            entry = pwd.getpwnam(self.user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)

    def lend(self, file: Path, secret: str) -> Path:
        """The secret in a file that only the server can read; the caller removes it."""
        file.unlink(missing_ok=True)
        write_secret(file, secret)
        if self.kind == "user":
            entry = pwd.getpwnam(self.user)
            os.chown(file, entry.pw_uid, entry.pw_gid)
        return file


def write_secret(file: Path, secret: str) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
        opened.write(secret)


def footing(programs: Path, data: Path, *, kind: Kind | None = None) -> Footing:
    """
    How this user runs the programs on this data folder.

    Everything stays in place for a plain user, and for root in a user namespace. Where root has to
    become another user, what that user cannot reach is kept under /var/lib/crossdock instead.
    """
    kind = kind or _kind()
    if kind != "user":
        return Footing(kind=kind, programs=programs, cluster=data / "cluster")
    cluster = data / "cluster"
    if not _reachable(data):
        name = hashlib.sha256(str(data).encode()).hexdigest()[:12]
        cluster = _private() / name
    return Footing(
        kind=kind, user=_unprivileged(), programs=_within_reach(programs), cluster=cluster
    )


@cache
def _kind() -> Kind:
    if os.geteuid() != 0:
        return "self"
    probe = [sys.executable, "-I", child.__file__, "--namespace", "--", "true"]
    worked = subprocess.run(probe, capture_output=True, check=False).returncode == 0
    return "namespace" if worked else "user"


def _unprivileged() -> str:
    if not _exists(_OWN_USER) and (useradd := shutil.which("useradd")):
        make = [useradd, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _OWN_USER]
        subprocess.run(make, capture_output=True, check=False)
    for name in (_OWN_USER, "nobody"):
        if _exists(name):
            return name
    raise Refused("PostgreSQL refuses to run as root and there is no other user; run as one")


def _exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _reachable(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in path.resolve().parents)


def _within_reach(programs: Path) -> Path:
    """The programs, or a copy of them with the libraries that they look for beside themselves."""
    install = programs.parent
    if _reachable(install / "bin"):
        return programs
    package = install.parent
    libraries = package.with_name(package.name + ".libs")
    stamp = hashlib.sha256(f"{install}:{install.stat().st_mtime_ns}".encode()).hexdigest()[:12]
    copy = _private() / f"programs-{stamp}"
    if not copy.exists():
        partial = copy.with_suffix(f".{os.getpid()}")
        shutil.copytree(install, partial / package.name / install.name, symlinks=True)
        shutil.copytree(libraries, partial / libraries.name, symlinks=True)
        try:
            partial.rename(copy)
        except OSError:  # another start was faster
            shutil.rmtree(partial)
    return copy / package.name / install.name / programs.name


def _private() -> Path:
    _PRIVATE.mkdir(mode=0o711, parents=True, exist_ok=True)
    return _PRIVATE
