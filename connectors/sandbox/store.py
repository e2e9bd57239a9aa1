"""Keeps the partners' own truth in one SQLite file, which an auditor reads directly."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCHEMA = """
-- What a node was asked for. One row per fulfillment, however often it was asked.
-- status: received, accepted, partly_shipped, shipped, delivered, ready_for_pickup, collected,
--   rejected (by event), refused (by HTTP), exception, cancelled, never_received (a tombstone: it
--   was cancelled before it came, and received_at is null).
-- behaviours: the knobs fixed when it first came, a JSON list. body: the request as it came.
CREATE TABLE IF NOT EXISTS node_requests (
  node TEXT NOT NULL, fulfillment_id TEXT NOT NULL, order_id TEXT NOT NULL, method TEXT NOT NULL,
  status TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', received_at TEXT,
  times_received INTEGER NOT NULL, times_cancelled INTEGER NOT NULL DEFAULT 0, cancelled_at TEXT,
  behaviours TEXT NOT NULL DEFAULT '[]', body TEXT NOT NULL,
  PRIMARY KEY (node, fulfillment_id));
-- Units that left a node: shipped, or handed over to the customer. Sum over a fulfillment's lines.
CREATE TABLE IF NOT EXISTS node_shipments (
  node TEXT NOT NULL, fulfillment_id TEXT NOT NULL, line_id TEXT NOT NULL, sku TEXT NOT NULL,
  quantity INTEGER NOT NULL, tracking_number TEXT NOT NULL, shipped_at TEXT NOT NULL,
  PRIMARY KEY (node, fulfillment_id, line_id, tracking_number));
-- What a node will do next, and when.
CREATE TABLE IF NOT EXISTS node_steps (
  id INTEGER PRIMARY KEY, node TEXT NOT NULL, fulfillment_id TEXT NOT NULL, step TEXT NOT NULL,
  due_ms INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS node_steps_due ON node_steps (due_ms);

-- Orders of a shop; body is the order in the shop's own shape.
CREATE TABLE IF NOT EXISTS shop_orders (
  shop TEXT NOT NULL, order_id INTEGER NOT NULL, name TEXT NOT NULL, created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL, cancelled_at TEXT, body TEXT NOT NULL, PRIMARY KEY (shop, order_id));
CREATE INDEX IF NOT EXISTS shop_orders_updated ON shop_orders (shop, updated_at, order_id);
-- What the shop was told has left: one row per fulfillment or shipment, and its units by line.
-- source: the location's id (Shopify) or the source_code (Magento).
CREATE TABLE IF NOT EXISTS shop_fulfillments (
  shop TEXT NOT NULL, fulfillment_id INTEGER NOT NULL, order_id INTEGER NOT NULL,
  source TEXT NOT NULL, carrier TEXT NOT NULL, tracking_number TEXT NOT NULL, url TEXT NOT NULL,
  created_at TEXT NOT NULL, delivered_at TEXT, note TEXT NOT NULL DEFAULT '',
  PRIMARY KEY (shop, fulfillment_id));
CREATE TABLE IF NOT EXISTS shop_fulfillment_lines (
  shop TEXT NOT NULL, fulfillment_id INTEGER NOT NULL, fulfillment_order_id INTEGER,
  line_id INTEGER NOT NULL, sku TEXT NOT NULL, quantity INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS shop_fulfillment_lines_of
  ON shop_fulfillment_lines (shop, fulfillment_id);
-- Times the shop was told that an order waits at the counter.
CREATE TABLE IF NOT EXISTS shop_pickup_notices (
  shop TEXT NOT NULL, order_id INTEGER NOT NULL, at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS shop_fulfillment_events (
  id INTEGER PRIMARY KEY, shop TEXT NOT NULL, fulfillment_id INTEGER NOT NULL,
  status TEXT NOT NULL, happened_at TEXT NOT NULL, message TEXT NOT NULL);
-- Shopify's work to do; visible_ms: background routing has made it by then.
CREATE TABLE IF NOT EXISTS shopify_fulfillment_orders (
  shop TEXT NOT NULL, id INTEGER NOT NULL, order_id INTEGER NOT NULL, location_id INTEGER NOT NULL,
  location_name TEXT NOT NULL, method_type TEXT NOT NULL, status TEXT NOT NULL,
  visible_ms INTEGER NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
  PRIMARY KEY (shop, id));
CREATE INDEX IF NOT EXISTS shopify_fulfillment_orders_of
  ON shopify_fulfillment_orders (shop, order_id);
CREATE TABLE IF NOT EXISTS shopify_fulfillment_order_lines (
  shop TEXT NOT NULL, id INTEGER NOT NULL, fulfillment_order_id INTEGER NOT NULL,
  line_id INTEGER NOT NULL, sku TEXT, title TEXT NOT NULL, total INTEGER NOT NULL,
  remaining INTEGER NOT NULL, PRIMARY KEY (shop, id));
CREATE INDEX IF NOT EXISTS shopify_lines_of
  ON shopify_fulfillment_order_lines (shop, fulfillment_order_id);

-- What partners have to say to Crossdock, until it was sent_at or they gave_up_at.
CREATE TABLE IF NOT EXISTS outgoing (
  id INTEGER PRIMARY KEY, kind TEXT NOT NULL, sender TEXT NOT NULL, subject TEXT NOT NULL,
  message_id TEXT NOT NULL, path TEXT NOT NULL, headers TEXT NOT NULL, body BLOB NOT NULL,
  due_ms INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, answer TEXT NOT NULL DEFAULT '',
  sent_at TEXT, gave_up_at TEXT);
CREATE INDEX IF NOT EXISTS outgoing_due ON outgoing (due_ms)
  WHERE sent_at IS NULL AND gave_up_at IS NULL;
-- Misbehaviour ordered by the control API. scope: node, sku or shop; remaining null: no limit.
CREATE TABLE IF NOT EXISTS knobs (
  id INTEGER PRIMARY KEY, scope TEXT NOT NULL, name TEXT NOT NULL, node TEXT NOT NULL,
  knob TEXT NOT NULL, remaining INTEGER);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
"""


class Store:
    """
    The SQLite file. What a finished transaction wrote survives a kill -9 of this process.

    Used by one event loop, synchronously: no handler awaits inside a transaction.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # The app may be built in one thread and served in another; never in two at once.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute("PRAGMA busy_timeout=5000")
        self._db.executescript(SCHEMA)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def run(self, sql: str, *values: Any) -> int:
        """How many rows the statement touched."""
        return self._db.execute(sql, values).rowcount

    def all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        return self._db.execute(sql, values).fetchall()

    def one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        row: sqlite3.Row | None = self._db.execute(sql, values).fetchone()
        return row

    def number(self, sql: str, *values: Any) -> int:
        """The single integer that the statement yields; 0 where it yields nothing."""
        row = self._db.execute(sql, values).fetchone()
        return int(row[0] or 0) if row else 0

    def next_number(self, counter: str) -> int:
        """1, 2, 3, ... for each counter."""
        return self.number(
            "INSERT INTO counters VALUES (?, 1)"
            " ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value",
            counter,
        )

    def close(self) -> None:
        self._db.close()
