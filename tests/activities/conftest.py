"""A house on a real Temporal server and a real database, with partners outside."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import WorkflowEnvironment

from activities.house import House
from tests.connectors.conftest import world
from workflows.codec import Keyring, data_converter

__all__ = ["world"]

KEYRING = Keyring({"k1": bytes(32)}, "k1")


@pytest.fixture(scope="module")
async def temporal() -> AsyncIterator[WorkflowEnvironment]:
    binary = shutil.which("temporal") or str(Path(sys.executable).parent / "temporal")
    environment = await WorkflowEnvironment.start_local(
        dev_server_existing_path=binary,
        data_converter=data_converter(KEYRING),
        dev_server_log_level="error",
    )
    try:
        yield environment
    finally:
        await environment.shutdown()
        await asyncio.sleep(0.2)  # the client's threads end before the interpreter does


@pytest.fixture
async def house(engine: AsyncEngine, temporal: WorkflowEnvironment) -> AsyncIterator[House]:
    async with httpx.AsyncClient() as http:
        yield House(engine=engine, client=temporal.client, keyring=KEYRING, http=http)
