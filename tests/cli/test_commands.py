"""The commands' own promises: scopes they know, reports they print, errors in one line."""

import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api import security
from cli import app as entry
from cli import bench
from cli.bench import Metric, at_least, at_most
from cli.commands.keys import SCOPES
from cli.stack.site import Site
from domain.errors import NotFound, Outage, Refused


def test_keys_can_be_made_for_every_scope_that_the_api_asks_for() -> None:
    source = Path(security.__file__).read_text()
    asked = {scope for call in re.findall(r"needs\((.+)\)", source) for scope in call.split(", ")}
    named = {scope.strip('"') for scope in asked if scope.startswith('"')}
    assert set(SCOPES) == named | {security.ADMIN}


def test_every_command_explains_itself() -> None:
    shown = CliRunner().invoke(entry.app, ["--help"])
    assert shown.exit_code == 0
    for command in ("demo", "up", "down", "status", "logs", "bench", "check", "migrate", "audit"):
        assert command in shown.output
        assert CliRunner().invoke(entry.app, [command, "--help"]).exit_code == 0


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (Refused("no such luck"), "crossdock: no such luck\n"),
        (
            Outage("postgres", "is unavailable:\n  more"),
            "crossdock: postgres is unavailable: more\n",
        ),
        (ExceptionGroup("several", [NotFound("not here")]), "crossdock: not here\n"),
        (KeyError("x"), "crossdock: KeyError: 'x' (CROSSDOCK_DEBUG=1 shows where)\n"),
    ],
)
def test_an_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    line: str,
) -> None:
    def fail(prog_name: str) -> None:
        raise error

    monkeypatch.setattr(entry, "app", fail)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == line


def test_a_bench_fails_by_counts_and_ratios_but_not_by_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    metrics = {
        "p50": at_most(36, 40, "events"),
        "seconds": at_most(9, 5, "s", decides=False),
        "orders": at_least(1, 1, "orders"),
    }
    monkeypatch.setattr("cli.bench.events.measure", lambda _: metrics)
    report = bench.run("events", seed=3)
    assert report.ok
    assert not report.metrics["seconds"].holds
    assert set(report.model_dump()) >= {"bench", "ok", "metrics", "seed", "versions", "load"}
    assert "MISSED" in bench.table(report)

    metrics["p50"] = at_most(41, 40, "events")
    assert not bench.run("events", seed=3).ok
    assert Metric(value=1, unit="s").holds
    with pytest.raises(NotFound, match=r"there are .*events"):
        bench.run("nothing", seed=3)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_another_users_data_is_left_alone(tmp_path: Path) -> None:
    site = Site("up", tmp_path)
    site.prepare()
    os.chown(site.folder, 65534, 65534)
    with pytest.raises(Refused, match="belongs to nobody; run as that user"), site.lock():
        pytest.fail("it was taken")
