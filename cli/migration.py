"""Brings Postgres and Temporal to what this version needs; safe to repeat and to run twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, Final, cast

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    RegisterNamespaceRequest,
    UpdateNamespaceRequest,
)
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from activities.scheduling import ensure_schedules
from cli.settings import Settings
from cli.wiring import engine
from domain.errors import Outage, Refused
from storage import database, network
from storage.database import transaction
from workflows.addressing import SEARCH_ATTRIBUTES
from workflows.client import connect

RETENTION: Final = timedelta(days=30)
_WAIT_SECONDS: Final = 60.0


async def migrate(settings: Settings) -> None:
    """
    The schema's newest version; the namespace, its retention, search attributes and schedules.

    Waits up to a minute for a Temporal that is still starting. Raises Outage for either that stays
    away, and Refused where a search attribute already has another type.
    """
    await asyncio.to_thread(database.migrate, settings.database_url)
    client = await _patiently_connected(settings)
    await ensure_namespace(client)
    await ensure_search_attributes(client)
    async with engine(settings) as opened, transaction(opened) as conn:
        channels = await network.channels(conn)
    await ensure_schedules(
        client,
        channels,
        reconcile_seconds=settings.reconcile_seconds,
        poll_seconds=settings.poll_seconds,
        reoptimise_seconds=settings.reoptimise_seconds,
    )


async def ensure_namespace(client: Client) -> None:
    """Closed orders, and so their ids, are forgotten after the retention."""
    retention = Duration()
    retention.FromTimedelta(RETENTION)
    service = client.workflow_service
    try:
        found = await service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace)
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        request = RegisterNamespaceRequest(
            namespace=client.namespace, workflow_execution_retention_period=retention
        )
        await _once(service.register_namespace(request))
        return
    if found.config.workflow_execution_retention_ttl != retention:
        config = NamespaceConfig(workflow_execution_retention_ttl=retention)
        await service.update_namespace(
            UpdateNamespaceRequest(namespace=client.namespace, config=config)
        )


async def ensure_search_attributes(client: Client) -> None:
    """Registers what is missing, and returns when the namespace knows them all."""
    wanted = {key.name: _type_of(key) for key in SEARCH_ATTRIBUTES}
    deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
    while True:
        known = await _known_attributes(client)
        other = sorted(name for name in wanted if known.get(name, wanted[name]) != wanted[name])
        if other:
            raise Refused(f"these search attributes exist with another type: {', '.join(other)}")
        missing = {name: kind for name, kind in wanted.items() if name not in known}
        if not missing:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise Outage("temporal", f"does not take up the search attributes {sorted(missing)}")
        request = AddSearchAttributesRequest(search_attributes=missing, namespace=client.namespace)
        await _once(client.operator_service.add_search_attributes(request))
        await asyncio.sleep(0.2)


async def _patiently_connected(settings: Settings) -> Client:
    deadline = asyncio.get_running_loop().time() + _WAIT_SECONDS
    while True:
        try:
            return await connect(
                settings.temporal_address, settings.temporal_namespace, settings.keyring()
            )
        except Outage:
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.5)


async def _known_attributes(client: Client) -> dict[str, IndexedValueType.ValueType]:
    request = ListSearchAttributesRequest(namespace=client.namespace)
    try:
        answer = await client.operator_service.list_search_attributes(request)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:  # the namespace is not known everywhere yet
            return {}
        raise
    return dict(answer.custom_attributes)


async def _once(asked: Awaitable[object]) -> None:
    """Another `migrate` may be faster; a namespace takes a while to be known everywhere."""
    try:
        await asked
    except RPCError as error:
        if error.status not in {RPCStatusCode.ALREADY_EXISTS, RPCStatusCode.NOT_FOUND}:
            raise


def _type_of(key: SearchAttributeKey[Any]) -> IndexedValueType.ValueType:
    return cast("IndexedValueType.ValueType", int(key.indexed_value_type))
