"""The embedded stack as a user meets it: by its commands, and after the worst."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from cli import sample
from cli.stack.record import Record, alive
from cli.stack.site import Site

ROOT = Path(__file__).parents[2]
ORDER = {
    "channel": "api",
    "channel_order_id": "1",
    "placed_at": "2026-11-20T10:00:00Z",
    "currency": "USD",
    "lines": [{"line_id": "1", "sku": sample.network().products[0].sku, "quantity": 1}],
    "ship_to": {"name": "Ada", "city": "Dallas", "postal_code": "75202", "country": "US"},
}
pytestmark = pytest.mark.timeout(300)


class User:
    """Someone at a terminal."""

    def __init__(self, home: Path) -> None:
        self.home = home
        clean = {name: os.environ[name] for name in os.environ if "CROSSDOCK" not in name}
        self.environment = {**clean, "PYTHONPATH": str(ROOT), "CROSSDOCK_HOME": str(home)}

    def does(self, *words: str, said: str | None = None) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "cli", *words],
            env=self.environment,
            input=said,
            capture_output=True,
            text=True,
            check=False,
            cwd=self.home,
        )
        return done.returncode, done.stdout, done.stderr

    @property
    def record(self) -> Record:
        found = Site("up", self.home).record()
        assert found is not None
        return found


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[User]:
    user = User(tmp_path_factory.mktemp("home"))
    yield user
    user.does("down")


def test_with_nothing_there_commands_say_what_to_do(user: User) -> None:
    code, _, complained = user.does("order", "list")
    assert (code, complained) == (
        1,
        "crossdock: nothing is up; run ./crossdock up, or set CROSSDOCK_DATABASE_URL\n",
    )
    assert user.does("api")[2].startswith("crossdock: CROSSDOCK_DATABASE_URL: is not set; set it")
    assert user.does("status")[0] == 1
    assert user.does("frobnicate")[0] == 2


def test_up_brings_everything_up(user: User) -> None:
    code, _, complained = user.does("up", "--detach")
    assert (code, complained) == (0, "")
    ports = user.record.ports
    assert httpx.get(f"http://127.0.0.1:{ports.api}/readyz").json()["ready"] is True
    assert httpx.get(f"http://127.0.0.1:{ports.ui}").status_code == 200
    assert httpx.get(f"http://127.0.0.1:{ports.sandbox}/healthz").status_code == 200
    assert user.does("up")[2].startswith("crossdock: the up stack already runs")


def test_an_order_goes_through_and_can_be_looked_at(user: User) -> None:
    code, said, _ = user.does("order", "submit", "-", said=json.dumps(ORDER))
    assert (code, json.loads(said)["outcome"]) == (0, "accepted")
    assert until(lambda: "completed" in user.does("order", "show", "api-1")[1])
    assert user.does("order", "submit", "-", said='{"channel": 1}')[2].startswith("crossdock: ")
    assert user.does("order", "show", "api-2")[2] == "crossdock: no order api-2\n"


def test_keys_and_nodes_can_be_managed(user: User) -> None:
    code, token, _ = user.does("key", "create", "shop", "--scope", "orders:read")
    assert (code, token.startswith("cd_")) == (0, True)
    key_id = token.split("_")[1]
    orders = f"http://127.0.0.1:{user.record.ports.api}/v1/orders"
    asked = {"Authorization": f"Bearer {token.strip()}"}
    assert httpx.get(orders, headers=asked).status_code == 200
    assert key_id in user.does("key", "list")[1]
    assert user.does("key", "revoke", key_id)[0] == 0
    assert user.does("key", "revoke", key_id)[0] == 1

    assert "offline" in user.does("node", "down", "DC-DAL")[1]
    assert "online" in user.does("node", "up", "DC-DAL")[1]
    assert user.does("node", "down", "nowhere")[2] == "crossdock: no node nowhere\n"


def test_all_of_it_killed_at_once_comes_back_with_its_orders(user: User) -> None:
    before = user.record
    victims = [before.supervisor, *before.processes]
    for process in victims:
        os.kill(process.pid, signal.SIGKILL)
    assert until(lambda: not any(alive(process) for process in victims))

    assert user.does("up", "--detach")[0] == 0

    assert user.record.ports == before.ports
    assert "completed" in user.does("order", "show", "api-1")[1]


def test_down_leaves_nothing_running_and_the_orders_readable(user: User) -> None:
    processes = [psutil.Process(process.pid) for process in user.record.processes]
    assert user.does("down")[1] == "stopped: up\n"
    assert not any(process.is_running() for process in processes)
    assert "completed" in user.does("order", "list")[1]
    assert user.does("down")[1] == "nothing was running\n"


def until(holds: Callable[[], bool], seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.2)
    return False
