"""Reads the settings: the one place that looks at the environment, on behalf of all the others."""

from __future__ import annotations

import base64
import binascii
import re
from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from domain.errors import Invalid
from domain.sourcing.evidence import Pricing
from storage.repairs import POLICIES, Policy
from workflows.addressing import ROLES, Role
from workflows.codec import Keyring
from workflows.messages import Patience

PREFIX: Final = "CROSSDOCK_"
_Kind = TypeVar("_Kind", bound=BaseSettings)
_CURES: Final = {
    "database_url": "set it to postgresql://user:password@host/database, or run ./crossdock up",
    "keys": 'set it to {"k1": "<32 random bytes in base64>"}, as `openssl rand -base64 32` prints',
    "active_key": "set it to the id, among those of CROSSDOCK_KEYS, that seals new data",
    "session_secret": "set it to a long random text, as `openssl rand -base64 32` prints",
}


class Settings(BaseSettings):
    """
    What a process needs to know of its surroundings; each is the variable CROSSDOCK_<NAME>.

    `keys`, `patience`, `pricing` and `repairs` are JSON. `read_database_url` may name a replica;
    empty is the same database. `api_url` and `ui_url` are what browsers and partners use.
    `sandbox_file` says who the sandbox partners are, where there are any.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    database_url: str = Field(repr=False)
    read_database_url: str = Field(default="", repr=False)
    temporal_address: str = "127.0.0.1:7233"
    temporal_namespace: str = "crossdock"
    keys: dict[str, SecretStr]
    active_key: str
    session_secret: SecretStr = Field(min_length=16)
    api_host: str = "127.0.0.1"
    api_port: int = 8000
    api_url: str = "http://127.0.0.1:8000"
    ui_url: str = "http://127.0.0.1:8080"
    patience: Patience = Patience()
    reconcile_seconds: float = Field(default=60, gt=0)
    poll_seconds: float = Field(default=30, gt=0)
    reoptimise_seconds: float = Field(default=300, ge=0)
    audit_seconds: float = Field(default=30, ge=0)
    batch_seconds: float = Field(default=2, gt=0)
    audit_full_seconds: float = Field(default=3600, gt=0)
    repairs: dict[str, Policy] = Field(default_factory=dict)
    certified: float = Field(default=0.05, ge=0, le=1)
    prices_seconds: float = Field(default=3600, ge=0)
    pricing: Pricing = Pricing()
    worker_roles: tuple[Role, ...] = ROLES
    sandbox_file: Path | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    def keyring(self) -> Keyring:
        """Raises Invalid for keys that are not 32 bytes of base64."""
        keys = {kid: _decoded(kid, key.get_secret_value()) for kid, key in self.keys.items()}
        return Keyring(keys, self.active_key)

    def policies(self) -> dict[str, Policy]:
        """What becomes of repairs, by table. Raises Invalid for a table that has none."""
        if unknown := sorted(self.repairs.keys() - POLICIES.keys()):
            known = ", ".join(sorted(POLICIES))
            raise Invalid(f"CROSSDOCK_REPAIRS: {unknown[0]} is none of {known}")
        return {**POLICIES, **self.repairs}


class Launch(BaseSettings):
    """What the launcher itself may be told; the embedded stack keeps its data in `home`."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    home: Path = Path(__file__).resolve().parents[1] / ".crossdock"
    temporal_bin: str = ""
    debug: bool = False


def load() -> Settings:
    """Raises Invalid; its message names the first variable missing or wrong, and the cure."""
    return _read(Settings)


def launch() -> Launch:
    return _read(Launch)


def _read(kind: type[_Kind]) -> _Kind:
    try:
        return kind()
    except SettingsError as error:
        name = PREFIX + (re.findall(r'field "(\w+)"', str(error)) or ["?"])[0].upper()
        raise Invalid(f"{name} is not valid JSON") from None
    except ValidationError as error:
        raise Invalid(_said(error)) from None


def _said(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    field = str(first["loc"][0]) if first["loc"] else ""
    inner = ".".join(str(part) for part in first["loc"][1:])
    wrong = (
        "is not set" if first["type"] == "missing" else first["msg"][:1].lower() + first["msg"][1:]
    )
    where = f"{PREFIX}{field.upper()}" + (f" ({inner})" if inner else "")
    cure = _CURES.get(field)
    return f"{where}: {wrong}" + (f"; {cure}" if cure else "")


def _decoded(kid: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise Invalid(f"CROSSDOCK_KEYS: the key {kid!r} is not base64; {_CURES['keys']}") from None
