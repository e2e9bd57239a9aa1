"""Queues what partners say to Crossdock until it is sent, held back, or given up."""

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from connectors.sandbox.store import Store


class Kind(StrEnum):
    NODE_EVENT = "node_event"
    SHOPIFY_WEBHOOK = "shopify_webhook"
    HAND_OVER = "hand_over"


@dataclass(frozen=True)
class Message:
    """One thing to say. Signed anew at each attempt, under the same `message_id`."""

    kind: Kind
    sender: str
    subject: str
    message_id: str
    path: str
    body: bytes
    due_ms: int
    headers: Mapping[str, str] = field(default_factory=dict)


def put(store: Store, message: Message) -> None:
    """Queue a message. Needs the transaction of what it tells of."""
    store.run(
        "INSERT INTO outgoing (kind, sender, subject, message_id, path, headers, body, due_ms)"
        " VALUES (?,?,?,?,?,?,?,?)",
        message.kind,
        message.sender,
        message.subject,
        message.message_id,
        message.path,
        json.dumps(dict(message.headers)),
        message.body,
        message.due_ms,
    )


def due(store: Store, now_ms: int, limit: int) -> list[sqlite3.Row]:
    return store.all(
        "SELECT * FROM outgoing WHERE sent_at IS NULL AND gave_up_at IS NULL AND due_ms <= ?"
        " ORDER BY due_ms, id LIMIT ?",
        now_ms,
        limit,
    )


def next_due(store: Store) -> int | None:
    """When the next message or step is due, in milliseconds; None where nothing is planned."""
    row = store.one(
        "SELECT min(at) AS at FROM (SELECT min(due_ms) AS at FROM node_steps UNION ALL"
        " SELECT min(due_ms) FROM outgoing WHERE sent_at IS NULL AND gave_up_at IS NULL)"
    )
    return row["at"] if row else None


def sent(store: Store, key: int, *, answer: str, at: str) -> None:
    store.run(
        "UPDATE outgoing SET attempts = attempts + 1, answer = ?, sent_at = ? WHERE id = ?",
        answer,
        at,
        key,
    )


def failed(store: Store, key: int, *, answer: str, due_ms: int) -> None:
    store.run(
        "UPDATE outgoing SET attempts = attempts + 1, answer = ?, due_ms = ? WHERE id = ?",
        answer,
        due_ms,
        key,
    )


def gave_up(store: Store, key: int, *, answer: str, at: str) -> None:
    store.run(
        "UPDATE outgoing SET attempts = attempts + 1, answer = ?, gave_up_at = ? WHERE id = ?",
        answer,
        at,
        key,
    )


def release(store: Store, sender: str, now_ms: int) -> int:
    """Let everything that this sender holds back or will retry go out now."""
    return store.run(
        "UPDATE outgoing SET due_ms = ? WHERE sender = ? AND sent_at IS NULL"
        " AND gave_up_at IS NULL AND due_ms > ?",
        now_ms,
        sender,
        now_ms,
    )
