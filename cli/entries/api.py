"""Serves the HTTP API."""

from __future__ import annotations

import asyncio

from api.app import create_app
from api.services import Services
from cli.serving import serve
from cli.settings import Settings
from cli.wiring import engine, settle_memory, temporal, write_logs
from domain.geography import locate
from domain.sourcing.solver import cheapest_plan


async def run(settings: Settings) -> None:
    """Until it is told to stop. Temporal may come later; Postgres may come and go."""
    write_logs(settings.log_level)
    settle_memory()
    async with engine(settings) as writes, engine(settings, read_only=True) as reads:
        services = Services(
            engine=writes,
            read_engine=reads,
            temporal=await temporal(settings, lazy=True),
            keyring=settings.keyring(),
            patience=settings.patience,
            session_secret=settings.session_secret.get_secret_value(),
            ui_origins=ui_origins(settings.ui_url),
            api_url=settings.api_url,
            solve=cheapest_plan,
        )
        await asyncio.to_thread(locate, "10001")  # reads the table of postal codes, once
        await serve(create_app(services), settings.api_host, settings.api_port, settings.log_level)


def ui_origins(ui_url: str) -> tuple[str, ...]:
    """The UI's origin, under both names where it is on this machine."""
    url = ui_url.rstrip("/")
    both = (url.replace("//localhost", "//127.0.0.1"), url.replace("//127.0.0.1", "//localhost"))
    return tuple(sorted({url, *both}))
