"""docker-compose.yml is valid, runs what the embedded stack runs, and ships no password."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from cli.settings import Settings, load
from cli.stack.services import Service, services
from cli.stack.site import Site

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    read: dict[str, Any] = YAML(typ="safe").load(FILE)
    return read


@pytest.fixture(scope="module")
def example() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_it_is_valid_by_the_compose_specification() -> None:
    tool = Path(sys.executable).with_name("check-jsonschema")
    command = [str(tool), "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["migrate", "api", "worker"])
def test_its_commands_are_those_of_the_embedded_stack(
    compose: dict[str, Any], name: str, tmp_path: Path
) -> None:
    site = Site("up", tmp_path)
    embedded = {service.name: service for service in services(site, site.choose_ports())}
    assert compose["services"][name]["command"] == _words(embedded[name], site)
    dockerfile = compose["services"][name]["build"]["dockerfile_inline"]
    assert 'ENTRYPOINT ["python", "-P", "-m", "cli"]' in dockerfile


def test_every_lasting_service_is_watched_and_comes_back(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if service["restart"] == "unless-stopped":
            assert "healthcheck" in service, name
        else:
            assert service["restart"].startswith("on-failure"), name


def test_services_wait_for_what_they_stand_on(compose: dict[str, Any]) -> None:
    waits = {
        name: {on: how["condition"] for on, how in service.get("depends_on", {}).items()}
        for name, service in compose["services"].items()
    }
    assert waits["migrate"] == {"postgres": "service_healthy", "temporal": "service_healthy"}
    assert waits["api"] == waits["worker"] == {"migrate": "service_completed_successfully"}


def test_no_password_stands_in_it_and_each_has_to_be_set(compose: dict[str, Any]) -> None:
    secret = re.compile(r"PASSWORD|PWD|SECRET|KEYS")
    for name, service in compose["services"].items():
        for variable, value in service.get("environment", {}).items():
            if secret.search(variable):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), (name, variable)
    assert re.findall(r"://\w+:([^@\n]+)@", FILE.read_text()) == [
        "${POSTGRES_PASSWORD:?set it in .env}"
    ]


def test_the_example_sets_all_that_has_to_be_set(example: dict[str, str]) -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", FILE.read_text()))
    assert asked <= set(example)


def test_the_settings_that_it_hands_over_are_complete(
    compose: dict[str, Any], example: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in compose["services"]["api"]["environment"].items():
        assert variable.removeprefix("CROSSDOCK_").lower() in Settings.model_fields
        if value is not None:  # else it is handed over as .env has it, or not at all
            fill = re.compile(r"\$\{(\w+)[^}]*\}")
            filled = fill.sub(lambda found: example.get(found[1], "info"), value)
            monkeypatch.setenv(variable, filled)
    settings = load()
    assert settings.keyring().active == "k1"
    assert (
        settings.database_url
        == "postgresql://crossdock:change-me-crossdock@postgres:5432/crossdock"
    )


def _words(service: Service, site: Site) -> list[str]:
    words = service.command()
    own = words[words.index("cli") + 1 :]
    return [word.replace(str(site.folder), "/tmp") for word in own]  # noqa: S108
