"""Serves the sandbox partners."""

from __future__ import annotations

from pathlib import Path

from cli.serving import serve
from connectors.sandbox.app import create_app
from connectors.sandbox.config import load


async def run(file: Path, port: int) -> None:
    await serve(create_app(load(file)), "127.0.0.1", port, "info")
