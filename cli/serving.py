"""Serves an app over HTTP."""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI


async def serve(app: FastAPI, host: str, port: int, level: str) -> None:
    """Until SIGINT or SIGTERM; requests under way get five seconds to end."""
    config = uvicorn.Config(
        app, host=host, port=port, log_level=level, access_log=False, timeout_graceful_shutdown=5
    )
    await uvicorn.Server(config).serve()
