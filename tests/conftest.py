"""Real servers, started once: fakes stand in for partners only, and nothing leaves the machine."""

import ipaddress
import socket
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any

import hypothesis  # else its plugin compiles it at the end, beside other threads
import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from cli.stack.postgres import Postgres
from storage import database

_TEMPLATE = "migrated"
_number = count(1)

# A busy machine may take its time over an example.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The figures that tests recorded (`record_property`) stand in the log of every run."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, figure in report.user_properties:
                terminalreporter.write_line(f"{name}: {figure}")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    server = Postgres(tmp_path_factory.mktemp("postgres"), durable=False)
    server.start()
    yield server
    server.stop()
    server.wipe()


@pytest.fixture(scope="session")
def migrated(postgres_server: Postgres) -> str:
    """A database as the migrations build it; the modules' databases are cut from it."""
    _run(postgres_server.url, f"create database {_TEMPLATE}")
    database.migrate(_beside(postgres_server.url, _TEMPLATE))
    return _TEMPLATE


@pytest.fixture(scope="module")
def postgres_url(postgres_server: Postgres, migrated: str) -> Iterator[str]:
    """A database of the module's own, fresh and migrated."""
    name = f"test_{next(_number)}"
    _run(postgres_server.url, f"create database {name} template {migrated}")
    yield _beside(postgres_server.url, name)
    _run(postgres_server.url, f"drop database {name} with (force)")


@pytest.fixture(scope="module")
async def engine(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    engine = database.engine(postgres_url)
    yield engine
    await engine.dispose()


@pytest.fixture
async def conn(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that is always rolled back."""
    async with engine.connect() as conn, conn.begin() as transaction:
        yield conn
        await transaction.rollback()


@pytest.fixture(scope="session", autouse=True)
def loopback_only() -> Iterator[None]:
    """A connection of Python's to anywhere else is a failed test."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and not _is_loopback(address[0]):
            pytest.fail(f"a test tried to reach {address}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _beside(url: str, name: str) -> str:
    return url.rpartition("/")[0] + "/" + name


def _run(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(statement.encode())
