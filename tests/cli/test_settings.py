"""Settings come from the environment alone, and a wrong one is named with its cure."""

import base64
from datetime import timedelta

import pytest

from cli.entries.api import ui_origins
from cli.settings import load
from domain.errors import Invalid
from workflows.messages import Patience

KEY = base64.b64encode(bytes(32)).decode()
GOOD = {
    "CROSSDOCK_DATABASE_URL": "postgresql://u:p@h/d",
    "CROSSDOCK_KEYS": f'{{"k1": "{KEY}"}}',
    "CROSSDOCK_ACTIVE_KEY": "k1",
    "CROSSDOCK_SESSION_SECRET": "a long enough secret",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def test_what_is_not_said_has_a_default() -> None:
    settings = load()
    assert settings.patience == Patience()
    assert settings.temporal_namespace == "crossdock"
    assert settings.keyring().active == "k1"


def test_the_share_that_is_certified_is_a_share(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load().certified == 0.05
    monkeypatch.setenv("CROSSDOCK_CERTIFIED", "1.5")
    with pytest.raises(Invalid, match="CROSSDOCK_CERTIFIED"):
        load()


def test_structured_settings_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSDOCK_PATIENCE", '{"recall": 5, "pickup_window": "PT8S"}')
    monkeypatch.setenv("CROSSDOCK_WORKER_ROLES", '["partners"]')
    settings = load()
    assert settings.patience.recall == timedelta(seconds=5)
    assert settings.patience.pickup_window == timedelta(seconds=8)
    assert settings.worker_roles == ("partners",)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CROSSDOCK_DATABASE_URL", None, "CROSSDOCK_DATABASE_URL: is not set; set it to postgres"),
        ("CROSSDOCK_KEYS", None, "CROSSDOCK_KEYS: is not set; set it to"),
        ("CROSSDOCK_KEYS", "nonsense", "CROSSDOCK_KEYS is not valid JSON"),
        ("CROSSDOCK_SESSION_SECRET", "short", "CROSSDOCK_SESSION_SECRET: value should have at"),
        ("CROSSDOCK_API_PORT", "http", "CROSSDOCK_API_PORT: input should be a valid integer"),
        ("CROSSDOCK_PATIENCE", '{"recall": "x"}', "CROSSDOCK_PATIENCE (recall): "),
        ("CROSSDOCK_POLL_SECONDS", "0", "CROSSDOCK_POLL_SECONDS: input should be greater than 0"),
    ],
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, says: str
) -> None:
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    with pytest.raises(Invalid) as caught:
        load()
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ('{"k1": "no base64!"}', "'k1' is not base64"),
        ('{"k1": "c2hvcnQ="}', "32 bytes"),
        (f'{{"k2": "{KEY}"}}', "'k1' is not among"),
    ],
)
def test_a_key_that_cannot_seal_is_refused(
    monkeypatch: pytest.MonkeyPatch, keys: str, says: str
) -> None:
    monkeypatch.setenv("CROSSDOCK_KEYS", keys)
    with pytest.raises(Invalid, match=says):
        load().keyring()


def test_secrets_do_not_show_in_a_representation() -> None:
    shown = repr(load())
    assert "u:p" not in shown
    assert KEY not in shown
    assert "a long enough secret" not in shown


def test_the_ui_is_known_by_both_names_of_this_machine() -> None:
    assert ui_origins("http://127.0.0.1:8080/") == (
        "http://127.0.0.1:8080",
        "http://localhost:8080",
    )
    assert ui_origins("https://temporal.example.com") == ("https://temporal.example.com",)
