"""The supervisor brings back what dies, ends what it started, and finds what it left."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import psutil
import pytest

from cli.stack import supervisor as supervisors
from cli.stack.record import Process, Record, alive, strays
from cli.stack.services import Service
from cli.stack.site import Site
from cli.stack.supervisor import Supervisor, rotate
from domain.errors import Conflict, Refused

SLEEP = "import time; print('awake', flush=True); time.sleep(60)"


async def _yes() -> bool:
    return True


def service(
    name: str, program: str = SLEEP, *, after: tuple[str, ...] = (), once: bool = False
) -> Service:
    ready = None if once else _yes
    return Service(name, lambda: [sys.executable, "-c", program], ready, after=after, once=once)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site("demo", tmp_path)
    site.prepare()
    site.postgres().data.mkdir()
    (site.postgres().data / "password").write_text("secret")
    return site


@asynccontextmanager
async def watched(site: Site, *services: Service) -> AsyncIterator[Supervisor]:
    stop = asyncio.Event()
    supervisor = Supervisor(site, site.choose_ports(), services, lambda _: None)
    try:
        await supervisor.up()
        watching = asyncio.create_task(supervisor.watch(stop))
        yield supervisor
        stop.set()
        await watching
    finally:
        await supervisor.down()


async def test_a_process_that_dies_is_back_within_ten_seconds(site: Site) -> None:
    async with watched(site, service("one"), service("two")):
        record = site.record()
        assert record is not None
        first = record.processes[0]
        os.kill(first.pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            while True:
                record = site.record()
                assert record is not None
                if record.processes[0].restarts == 1 and alive(record.processes[0]):
                    break
                await asyncio.sleep(0.05)
        assert record.processes[1].restarts == 0
        assert record.processes[0].pid != first.pid
    assert not psutil.pid_exists(record.processes[0].pid)


async def test_what_ends_while_it_starts_is_started_once_more(site: Site, tmp_path: Path) -> None:
    mark = tmp_path / "tried"
    fails_first = f"""
import pathlib, sys, time
mark = pathlib.Path({str(mark)!r})
tries = len(mark.read_text()) if mark.exists() else 0
mark.write_text('x' * (tries + 1))
sys.exit('the port is taken') if tries < FAILURES else time.sleep(60)
"""

    async def ready() -> bool:
        await asyncio.sleep(0.3)
        return mark.exists() and mark.read_text() == "xx" and wanted == 1

    for wanted in (1, 2):
        mark.unlink(missing_ok=True)
        command = [sys.executable, "-c", fails_first.replace("FAILURES", str(wanted))]
        one = Service("one", partial(list, command), ready)
        supervisor = Supervisor(site, site.choose_ports(), [one], lambda _: None)
        try:
            if wanted == 1:
                await supervisor.up()
            else:
                with pytest.raises(Refused, match="one did not start: the port is taken"):
                    await supervisor.up()
        finally:
            await supervisor.down()


async def test_each_starts_in_its_turn_and_a_one_off_has_to_succeed(
    site: Site,
) -> None:
    failing = service(
        "migrate",
        "import sys; sys.exit('the schema is newer than I am')",
        after=("first",),
        once=True,
    )
    with pytest.raises(Refused, match=r"migrate did not start: the schema is newer than I am"):
        async with watched(site, service("first"), failing, service("never", after=("migrate",))):
            pytest.fail("it came up")
    assert (site.logs / "first.log").exists()
    assert not (site.logs / "never.log").exists()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="PR_SET_PDEATHSIG is Linux's")
def test_what_a_killed_supervisor_started_ends_with_it(site: Site) -> None:
    program = (
        "import asyncio, pathlib\n"
        "from cli.stack.site import Site\n"
        "from tests.cli.test_supervisor import service, watched\n"
        f"site = Site('demo', pathlib.Path({str(site.folder.parent)!r}))\n"
        "async def main():\n"
        "    async with watched(site, service('one')):\n"
        "        print('up', flush=True)\n"
        "        await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"up\n"
        record = site.record()
        assert record is not None
        running.kill()
    left = [psutil.Process(p.pid) for p in record.processes if psutil.pid_exists(p.pid)]
    gone, _ = psutil.wait_procs(left, timeout=5)
    assert len(gone) == len(left)


def test_a_pid_that_is_someone_elses_by_now_is_left_alone(site: Site) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEP], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"awake\n"
        started = psutil.Process(running.pid).create_time()
        program = Path(sys.executable).name
        process = Process(name="x", pid=running.pid, started=started, program=program)
        assert alive(process)
        assert not alive(process.model_copy(update={"started": started - 5}))
        assert not alive(process.model_copy(update={"program": "postgres"}))
        record = Record(
            profile="demo", ports=site.choose_ports(), supervisor=process, processes=(process,)
        )
        assert [stray.pid for stray in strays(record, site.folder)] == [running.pid]
        running.kill()


def test_of_two_that_would_run_one_folder_one_may(site: Site) -> None:
    with site.lock(), pytest.raises(Conflict, match="already runs"), site.lock():
        pytest.fail("both may")


def test_ports_of_the_last_run_are_taken_again_and_a_taken_fixed_one_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = site.choose_ports()
    own = Process(name="supervisor", pid=1, started=0, program="x")
    site.write(Record(profile="demo", ports=ports, supervisor=own))
    assert site.choose_ports() == ports

    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        monkeypatch.setenv("CROSSDOCK_API_PORT", str(taken))
        with pytest.raises(Refused, match=rf"port {taken} \(CROSSDOCK_API_PORT\) is taken"):
            site.choose_ports()


def test_a_long_log_is_rotated_under_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    with log.open("ab") as writer:
        writer.write(b"x" * (supervisors._LOG_BYTES + 1))
        writer.flush()
        rotate(log)
        writer.write(b"next")
    assert log.read_bytes() == b"next"
    assert (tmp_path / "api.log.1").stat().st_size > supervisors._LOG_BYTES
