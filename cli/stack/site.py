"""One profile's folder: its secrets, its ports, and the record of what runs there."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import hmac
import os
import pwd
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from cli.settings import PREFIX, launch
from cli.stack.footing import write_secret
from cli.stack.ports import LOOPBACK, free_port, is_free
from cli.stack.postgres import Postgres
from cli.stack.record import Ports, Record
from cli.stack.temporal import Temporal
from domain.errors import Conflict, Refused
from domain.values import Value

NAMESPACE: Final = "crossdock"
PROFILES: Final = ("up", "demo")


class Secrets(Value):
    key: str
    session: str
    partners: str

    def partner(self, name: str) -> str:
        """A partner's secret, the same at every call, of 43 characters."""
        digest = hmac.digest(self.partners.encode(), name.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


class FixedPorts(BaseSettings):
    """CROSSDOCK_API_PORT and the like; 0 is whichever is free."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    postgres_port: int = 0
    temporal_port: int = 0
    ui_port: int = 0
    metrics_port: int = 0
    http_port: int = 0
    api_port: int = 0
    sandbox_port: int = 0


class Site:
    """The stack of one profile, running or not, below `home`."""

    def __init__(self, profile: str, home: Path | None = None) -> None:
        self.profile = profile
        self.folder = (home or launch().home).resolve() / profile

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def sandbox_file(self) -> Path:
        return self.folder / "sandbox" / "config.json"

    @property
    def pulse_file(self) -> Path:
        return self.folder / "worker.pulse"

    def prepare(self) -> None:
        """Makes the folder. Refused where it is another user's: files of two owners stop both."""
        self.folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        if (owner := self.folder.stat().st_uid) != os.geteuid():
            raise Refused(
                f"{self.folder} belongs to {_user(owner)}; run as that user, or set {PREFIX}HOME"
            )
        for name in ("logs", "sandbox"):
            (self.folder / name).mkdir(mode=0o700, exist_ok=True)

    def secrets(self) -> Secrets:
        """Made at first use and kept, readable by the owner alone."""
        file = self.folder / "secrets.json"
        if not file.exists():
            self.prepare()
            key = base64.b64encode(secrets.token_bytes(32)).decode()
            made = Secrets(
                key=key, session=secrets.token_urlsafe(32), partners=secrets.token_urlsafe(32)
            )
            write_secret(file, made.model_dump_json())
        return Secrets.model_validate_json(file.read_text())

    def choose_ports(self) -> Ports:
        """The configured ones, or those of the last run, or free ones."""
        fixed = {name.removesuffix("_port"): port for name, port in FixedPorts()}
        record = self.record()
        last = record.ports.model_dump() if record else {}
        chosen: dict[str, int] = {}
        for name in Ports.model_fields:
            port = fixed[name] or last.get(name, 0)
            if fixed[name] and not is_free(port):
                raise Refused(f"port {port} ({PREFIX}{name.upper()}_PORT) is taken; name another")
            while not port or port in chosen.values() or not is_free(port):
                port = free_port()
            chosen[name] = port
        return Ports(**chosen)

    def record(self) -> Record | None:
        """What the last `up` of this profile wrote, whether it still runs or not."""
        try:
            return Record.model_validate_json((self.folder / "stack.json").read_text())
        except (OSError, ValidationError):
            return None

    def write(self, record: Record) -> None:
        partial = self.folder / "stack.json.new"
        partial.write_text(record.model_dump_json(indent=1))
        partial.replace(self.folder / "stack.json")

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Of all who would run servers on this folder, one may; Conflict for the others."""
        self.prepare()
        with (self.folder / "lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise Conflict(
                    f"the {self.profile} stack already runs; ./crossdock down ends it"
                ) from None
            yield

    def postgres(self, port: int = 0) -> Postgres:
        return Postgres(self.folder / "postgres", port)

    def temporal(self, ports: Ports) -> Temporal:
        return Temporal(
            self.folder / "temporal",
            ports,
            namespace=NAMESPACE,
            codec_url=f"{api_url(ports)}/codec",
            binary=launch().temporal_bin,
            durable=self.profile != "demo",
        )

    def environment(self, ports: Ports) -> dict[str, str]:
        """The settings of every process of this stack, as variables."""
        own = self.secrets()
        return {
            "CROSSDOCK_DATABASE_URL": self.postgres(ports.postgres).url,
            "CROSSDOCK_TEMPORAL_ADDRESS": f"{LOOPBACK}:{ports.temporal}",
            "CROSSDOCK_TEMPORAL_NAMESPACE": NAMESPACE,
            "CROSSDOCK_KEYS": f'{{"local": "{own.key}"}}',
            "CROSSDOCK_ACTIVE_KEY": "local",
            "CROSSDOCK_SESSION_SECRET": own.session,
            "CROSSDOCK_API_HOST": LOOPBACK,
            "CROSSDOCK_API_PORT": str(ports.api),
            "CROSSDOCK_API_URL": api_url(ports),
            "CROSSDOCK_UI_URL": f"http://{LOOPBACK}:{ports.ui}",
            "CROSSDOCK_SANDBOX_FILE": str(self.sandbox_file),
            "CROSSDOCK_SANDBOX_PORT": str(ports.sandbox),
            "CROSSDOCK_SANDBOX_URL": f"http://{LOOPBACK}:{ports.sandbox}",
        }

    def has_data(self) -> bool:
        return (self.postgres().cluster / "PG_VERSION").exists()

    def wipe(self) -> None:
        """Removes the profile's data for ever, and remembers its ports; nothing may run on it."""
        record = self.record()
        self.postgres().wipe()
        shutil.rmtree(self.folder, ignore_errors=True)
        if record is not None:
            self.prepare()
            self.write(record)


def api_url(ports: Ports) -> str:
    return f"http://{LOOPBACK}:{ports.api}"


def sites() -> list[Site]:
    """The profiles that have data, the one used last first."""
    found = [Site(name) for name in PROFILES]
    used = [site for site in found if site.has_data()]
    return sorted(used, key=lambda site: site.folder.stat().st_mtime, reverse=True)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user {uid}"
