"""The shape of the system, checked: what the type checker and import-linter cannot see."""

import ast
import inspect
import subprocess
from abc import ABC
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from activities import worker
from activities.house import House
from tests.world import World
from workflows import ports

ROOT = Path(__file__).parents[1]
PACKAGES = ("activities", "api", "cli", "connectors", "domain", "storage", "workflows")
AT_THE_ROOT = {
    *PACKAGES,
    *("docs", "tests", ".ci", ".env.example", ".gitignore", "LICENSE", "README.md"),
    *("crossdock", "docker-compose.yml", "pyproject.toml", "requirements.lock"),
}
LINES = 600
ASKED = sorted(
    name
    for _, port in inspect.getmembers(ports, inspect.isclass)
    if issubclass(port, ABC) and port is not ABC
    for name in port.__abstractmethods__
)


def modules(*folders: str) -> list[Path]:
    found = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return [path for path in found if path.read_text().strip()]


def imports(path: Path) -> Iterator[str]:
    """Every module that the file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{name.name}" for name in node.names)


def starts(name: str, packages: Sequence[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


async def test_every_port_method_is_answered_by_exactly_one_activity() -> None:
    async with httpx.AsyncClient() as http:
        nothing = cast("Any", None)
        house = House(engine=nothing, client=nothing, keyring=nothing, http=http)
        answered = worker.activities_of(worker.adapters(house))

    assert sorted(activity.__name__ for activity in answered) == ASKED


def test_the_world_of_the_tests_answers_every_port_method_once() -> None:
    assert sorted(activity.__name__ for activity in worker.activities_of([World()])) == ASKED


def test_what_passes_through_the_sandbox_defines_no_workflow() -> None:
    defining = {workflow.__module__ for workflow in worker.WORKFLOWS}
    for name in worker.PURE:
        assert not any(starts(module, [name]) for module in defining), name


@pytest.mark.parametrize("path", modules("workflows"), ids=relative)
def test_no_workflow_module_imports_the_client_or_the_codec(path: Path) -> None:
    if path.name in {"client.py", "codec.py"}:
        pytest.skip("it is one of them")
    outside = ["workflows.client", "workflows.codec", "cryptography"]
    assert [name for name in imports(path) if starts(name, outside)] == []


@pytest.mark.parametrize("path", modules("connectors/sandbox"), ids=relative)
def test_the_sandbox_shares_no_code_with_the_product(path: Path) -> None:
    ours = [name for name in imports(path) if starts(name, PACKAGES)]
    assert [name for name in ours if not starts(name, ["connectors.sandbox"])] == []


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=relative)
def test_a_module_says_what_it_is_and_stays_readable(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "a module opens with one sentence"
    assert text.count("\n") <= LINES


def test_settings_are_read_in_one_place() -> None:
    readers = {
        path.relative_to(ROOT).parts[0]
        for path in modules(*PACKAGES)
        for name in imports(path)
        if starts(name, ["os.environ", "pydantic_settings"])
    }
    assert readers <= {"cli"}


def test_every_dependency_is_pinned_with_a_hash_and_no_index_is_named() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    pins = [line for line in lock.splitlines() if line and not line.startswith((" ", "#"))]
    assert pins
    assert all("==" in pin and pin.endswith("\\") for pin in pins)
    assert "index-url" not in lock.replace("--no-emit-index-url", "")
    assert "://" not in lock


def test_nothing_new_stands_at_the_root() -> None:
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a clone")
    assert {line.split("/")[0] for line in listed.stdout.splitlines()} <= AT_THE_ROOT
