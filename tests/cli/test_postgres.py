"""The embedded PostgreSQL starts anywhere and comes back from the dead."""

import getpass
import os
import shutil
from pathlib import Path

import psycopg
import pytest

from cli.stack import footing as footings
from cli.stack.footing import Kind, footing
from cli.stack.postgres import Postgres, owner, programs

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become someone else")


def test_what_was_committed_survives_the_killing_of_the_server(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "db")
    server.start()
    with psycopg.connect(server.url) as db:
        db.execute("create table kept as select 42 as answer")
    running = owner(tmp_path / "db" / "cluster")
    assert running is not None
    running.kill()
    running.wait()

    again = Postgres(tmp_path / "db", server.port)
    again.start()
    with psycopg.connect(again.url) as db:
        assert db.execute("select answer from kept").fetchone() == (42,)
    again.stop()
    server.stop()


def test_a_lock_file_that_names_another_program_does_not_stop_it(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "db", durable=False)
    server.prepare()
    lock = tmp_path / "db" / "cluster" / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n{tmp_path}\n")

    server.start()
    server.stop()


def test_the_password_is_asked_for(tmp_path: Path) -> None:
    server = Postgres(tmp_path / "db", durable=False)
    server.start()
    try:
        wrong = server.url.replace(":" + server.url.split(":")[2].split("@")[0], ":wrong")
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(wrong)
    finally:
        server.stop()


@as_root
@pytest.mark.parametrize("kind", ["namespace", "user"])
def test_root_runs_it_as_someone_who_is_not_root(tmp_path: Path, kind: Kind) -> None:
    server = Postgres(tmp_path / "db", durable=False, kind=kind)
    server.start()
    try:
        running = owner(footing(programs(), tmp_path / "db", kind=kind).cluster)
        assert running is not None
        if kind == "user":
            assert running.username() != getpass.getuser()
    finally:
        server.stop()
        server.wipe()


@as_root
def test_programs_that_the_server_user_cannot_reach_are_copied_to_where_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = programs().parents[1]
    hidden = tmp_path / "hidden" / package.name
    shutil.copytree(package / "pginstall18", hidden / "pginstall18", symlinks=True)
    shutil.copytree(package.with_name(package.name + ".libs"), f"{hidden}.libs", symlinks=True)
    hidden.parent.chmod(0o700)
    monkeypatch.setattr("cli.stack.postgres.programs", lambda: hidden / "pginstall18" / "bin")
    private = Path("/tmp/crossdock-test-private")  # noqa: S108  # below a folder of everyone's
    monkeypatch.setattr(footings, "_PRIVATE", private)

    server = Postgres(tmp_path / "db", durable=False, kind="user")
    server.start()
    server.stop()
    server.wipe()

    assert any(private.glob("programs-*/*/pginstall18/bin/postgres"))
    shutil.rmtree(private)
