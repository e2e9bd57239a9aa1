"""`./crossdock` sets itself up once, wherever it is called from, and says clearly why it cannot."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

LAUNCHER = Path(__file__).parents[2] / "crossdock"
# Stands in for Python: knows versions, makes an environment of itself, and writes down installs.
FAKE_PYTHON = """#!/bin/sh
case "$*" in
    *version_info*) exit "${FAKE_TOO_OLD:-0}" ;;
    *python_version*) echo 3.9.2 ;;
    *ensurepip*) exit "${FAKE_NO_VENV:-0}" ;;
    -V) echo Python 3.13.0 ;;
    -c\\ import\\ pip) exit 0 ;;
    -m\\ venv*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;;
    -m\\ pip*) echo "$*" >>"$FAKE_INSTALLS"; sleep "${FAKE_SECONDS:-0}"; exit "${FAKE_FAILS:-0}" ;;
    -P\\ -m\\ cli*) shift 3; echo "path=$PYTHONPATH"; for word; do echo "word=$word"; done ;;
    *) echo "unexpected: $*" >&2; exit 9 ;;
esac
"""


class Clone:
    def __init__(self, folder: Path) -> None:
        self.root = folder / "a clone"
        self.root.mkdir()
        shutil.copy(LAUNCHER, self.root / "crossdock")
        (self.root / "requirements.lock").write_text("one==1 --hash=sha256:0\n")
        self.programs = folder / "bin"
        self.programs.mkdir()
        fake = self.programs / "python3"
        fake.write_text(FAKE_PYTHON)
        fake.chmod(0o755)
        self._installs = folder / "installs"

    def command(self, *words: str, **variables: str) -> "subprocess.Popen[str]":
        environment = {
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "CROSSDOCK_PYTHON": str(self.programs / "python3"),
            "FAKE_INSTALLS": str(self._installs),
            **variables,
        }
        return subprocess.Popen(
            [str(self.root / "crossdock"), *words],
            env=environment,
            cwd="/",
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *words: str, **variables: str) -> tuple[int, str, str]:
        with self.command(*words, **variables) as running:
            said, complained = running.communicate(timeout=20)
        return running.returncode, said, complained

    @property
    def installs(self) -> int:
        return len(self._installs.read_text().splitlines()) if self._installs.exists() else 0


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_it_installs_once_and_is_silent_from_then_on(clone: Clone) -> None:
    code, said, complained = clone.run("order", "show", "a b")
    assert (code, clone.installs) == (0, 1)
    assert "setting up .venv" in complained
    assert said.splitlines() == [f"path={clone.root}", "word=order", "word=show", "word=a b"]

    code, _, complained = clone.run("status")
    assert (code, complained, clone.installs) == (0, "", 1)


def test_it_installs_again_when_the_lock_has_changed(clone: Clone) -> None:
    clone.run()
    (clone.root / "requirements.lock").write_text("one==2 --hash=sha256:0\n")
    clone.run()
    assert clone.installs == 2


def test_it_works_through_links(clone: Clone, tmp_path: Path) -> None:
    (tmp_path / "second").symlink_to(clone.root / "crossdock")
    (tmp_path / "first").symlink_to("second")
    environment = {"PATH": "/usr/bin:/bin", "FAKE_INSTALLS": str(tmp_path / "installs")}
    environment["CROSSDOCK_PYTHON"] = str(clone.programs / "python3")
    done = subprocess.run(
        [str(tmp_path / "first")],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"path={clone.root}\n"


def test_two_at_once_install_once(clone: Clone) -> None:
    both = [clone.command("status", FAKE_SECONDS="1") for _ in range(2)]
    assert [one.wait(20) for one in both] == [0, 0]
    for one in both:
        one.communicate()
    assert clone.installs == 1
    assert not (clone.root / ".venv.lock").exists()


def test_an_interrupted_installation_is_made_anew(clone: Clone) -> None:
    with clone.command("status", FAKE_SECONDS="3") as first:
        while not clone.installs:
            pass
        os.kill(first.pid, signal.SIGKILL)
    (clone.root / ".venv" / "half").touch()

    code, _, _ = clone.run("status")

    assert (code, clone.installs) == (0, 2)
    assert not (clone.root / ".venv" / "half").exists()


def test_a_failed_installation_is_not_taken_for_a_good_one(clone: Clone) -> None:
    code, _, complained = clone.run(FAKE_FAILS="1")
    assert (code, complained.splitlines()[-1]) == (
        1,
        "crossdock: the dependencies could not be installed",
    )
    assert clone.run()[0] == 0
    assert clone.installs == 2


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"FAKE_TOO_OLD": "1"}, "Python 3.9.2 is too old; install Python 3.11 or newer"),
        ({"FAKE_NO_VENV": "1"}, "apt-get install python3-venv"),
    ],
)
def test_it_says_what_is_missing(clone: Clone, variables: dict[str, str], says: str) -> None:
    code, _, complained = clone.run(**variables)
    assert code == 1
    assert says in complained
    assert len(complained.splitlines()) == 1


def test_it_says_that_there_is_no_python(clone: Clone) -> None:
    (clone.programs / "python3").unlink()
    for name in ("sh", "dirname", "readlink", "cksum", "cat", "mkdir", "rm"):
        if found := shutil.which(name):
            (clone.programs / name).symlink_to(found)
    code, _, complained = clone.run(PATH=str(clone.programs))
    assert code == 1
    assert "there is no Python here" in complained
