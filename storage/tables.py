"""Every table. Columns and constraints only; what they mean is said beside them, once."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_INSTANT = DateTime(timezone=True)


def _now(name: str) -> Column[object]:
    return Column(name, _INSTANT, nullable=False, server_default=func.now())


# Work is open until `done_at` or `dead_at` is set. `claimed_until` ends the lease of its worker.
_OPEN = text("done_at IS NULL AND dead_at IS NULL")


def _work() -> tuple[Column[Any], ...]:
    return (
        _now("due_at"),
        Column("claimed_until", _INSTANT),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("error", Text, nullable=False, server_default=""),
        Column("note", Text, nullable=False, server_default=""),
        Column("done_at", _INSTANT),
        Column("dead_at", _INSTANT),
    )


# --- The network ---------------------------------------------------------------------------------

# `status` and `timezone` are columns because SQL reads them; `body` is the whole domain Node, whose
# own status is only the one that it was created with.
nodes = Table(
    "nodes",
    metadata,
    Column("code", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("timezone", Text, nullable=False),
    Column("capacity_per_day", Integer),
    Column("body", JSONB, nullable=False),
    _now("updated_at"),
    CheckConstraint("status IN ('online', 'offline')", name="status"),
    Index(
        "ix_nodes_not_shipping",
        "code",
        postgresql_where=text("NOT (body ->> 'ships')::boolean"),
    ),
)

node_log = Table(
    "node_log",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("node", Text, ForeignKey("nodes.code"), nullable=False, index=True),
    Column("status", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _now("at"),
)

products = Table(
    "products",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("body", JSONB, nullable=False),
    _now("updated_at"),
)

product_aliases = Table(
    "product_aliases",
    metadata,
    Column("alias", Text, primary_key=True),
    Column("sku", Text, ForeignKey("products.sku", ondelete="CASCADE"), nullable=False, index=True),
)

rate_cards = Table(
    "rate_cards",
    metadata,
    Column("service", Text, primary_key=True),
    Column("body", JSONB, nullable=False),
)

channels = Table(
    "channels",
    metadata,
    Column("code", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("url", Text, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("when_short", Text, nullable=False),
    Column("cursor", Text),
    CheckConstraint("kind IN ('shopify', 'magento', 'api')", name="kind"),
    CheckConstraint("when_short IN ('backorder', 'refuse')", name="when_short"),
)

# Secrets of partners, sealed before they come here. `owner` is `node:{code}` or `channel:{code}`.
credentials = Table(
    "credentials",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("sealed", Text, nullable=False),
    _now("updated_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("hash", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("channels", ARRAY(Text)),
    Column("nodes", ARRAY(Text)),
    _now("created_at"),
    Column("revoked_at", _INSTANT),
)

# --- Stock ---------------------------------------------------------------------------------------

# Free units of a SKU at online nodes, less open network reservations: what may be sold before rules
# hold any back. Below zero when a node with promised units went down or was counted short.
pool = Table(
    "pool",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("available", Integer, nullable=False, server_default="0"),
)

# `short` of the units on hand are not there: fewer were counted than are allocated. `counted_at` is
# the moment that the last count, feed or file spoke of, `counted_by` which one it was.
stock = Table(
    "stock",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("node", Text, ForeignKey("nodes.code"), primary_key=True, index=True),
    Column("on_hand", Integer, nullable=False, server_default="0"),
    Column("allocated", Integer, nullable=False, server_default="0"),
    Column("short", Integer, nullable=False, server_default="0"),
    Column("counted_at", _INSTANT),
    Column("counted_by", Text),
    CheckConstraint("0 <= allocated AND allocated <= on_hand", name="never_oversold"),
    CheckConstraint("short = 0 OR (short > 0 AND on_hand = allocated)", name="short"),
)

# `node` null is a promise of the whole network; with a node (pickup) its units count as allocated
# there. `held` ends by itself at `expires_at`; an order makes it `committed`, which does not. The
# row of one that is over stays for ever: the tombstone that a late attempt finds.
reservations = Table(
    "reservations",
    metadata,
    Column("reservation_id", Text, primary_key=True),
    Column("order_id", Text),
    Column("node", Text),
    Column("channel", Text, nullable=False, server_default=""),
    Column("state", Text, nullable=False),
    Column("expires_at", _INSTANT),
    _now("at"),
    CheckConstraint(
        "state IN ('held', 'committed', 'fulfilled', 'released', 'expired')", name="state"
    ),
    CheckConstraint("state <> 'held' OR expires_at IS NOT NULL", name="expires"),
    Index("ix_reservations_expiring", "expires_at", postgresql_where=text("state = 'held'")),
)

# `quantity` is what is still reserved, not what once was; `missing` is what could not be taken of a
# reservation that might be made in part. Each is written in the statement of its reservation.
reservation_lines = Table(
    "reservation_lines",
    metadata,
    Column("reservation_id", Text, primary_key=True),
    Column("line_id", Text, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("missing", Integer, nullable=False, server_default="0"),
    CheckConstraint("quantity >= 0", name="quantity"),
    Index("ix_reservation_lines_open", "sku", postgresql_where=text("quantity > 0")),
)

# One fulfillment's units at its node. `capacity_day` is the node's day it has a place on, null
# where it has none. Void: given back before it was made; a late attempt makes it no more.
allocations = Table(
    "allocations",
    metadata,
    Column("fulfillment_id", Text, primary_key=True),
    Column("order_id", Text, nullable=False, index=True),
    Column("node", Text, ForeignKey("nodes.code")),
    Column("channel", Text, nullable=False, server_default=""),
    Column("capacity_day", Date),
    Column("state", Text, nullable=False),
    _now("at"),
    CheckConstraint("state IN ('held', 'void')", name="state"),
    Index("ix_allocations_capacity", "node", "capacity_day"),
)

# `quantity` is what is allocated now; with `shipped` and `returned` it sums to what was allocated.
allocation_lines = Table(
    "allocation_lines",
    metadata,
    Column("fulfillment_id", Text, ForeignKey("allocations.fulfillment_id"), primary_key=True),
    Column("line_id", Text, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("shipped", Integer, nullable=False, server_default="0"),
    Column("returned", Integer, nullable=False, server_default="0"),
    CheckConstraint("quantity >= 0 AND shipped >= 0 AND returned >= 0", name="quantities"),
    Index("ix_allocation_lines_open", "sku", postgresql_where=text("quantity > 0")),
)

# Fulfillments a node has taken on for one of its own days; `capacity` is the limit that then held.
node_capacity = Table(
    "node_capacity",
    metadata,
    Column("node", Text, ForeignKey("nodes.code"), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("used", Integer, nullable=False),
    Column("capacity", Integer),
    CheckConstraint("used >= 0 AND (capacity IS NULL OR used <= capacity)", name="within"),
)

# What was done once and must not be done twice.
operations = Table(
    "operations",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    _now("at"),
)

# The append-only ledger: stock and reservations are the sums of it. What stood on the shelf before
# and after is told where there is a node. `stated_by` says whose statement made the difference
# (`count`, `feed:{source}`, `load:{id}`, `shortage`); null where units moved.
movements = Table(
    "movements",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("sku", Text, nullable=False),
    Column("node", Text),
    Column("on_hand_delta", Integer, nullable=False),
    Column("allocated_delta", Integer, nullable=False),
    Column("reserved_delta", Integer, nullable=False),
    Column("on_hand_before", Integer),
    Column("on_hand_after", Integer),
    Column("allocated_before", Integer),
    Column("allocated_after", Integer),
    Column("cause", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("order_id", Text),
    Column("key", Text, nullable=False),
    Column("stated_by", Text),
    _now("at"),
    CheckConstraint("cause <> '' AND actor <> ''", name="told"),
    Index("ix_movements_sku_node", "sku", "node"),
    Index(
        "ix_movements_physical",
        "sku",
        "node",
        "at",
        postgresql_where=text("stated_by IS NULL AND on_hand_delta <> 0"),
    ),
)

# Fewer units are there than are allocated: an open row for each short shelf, until it is made good.
stock_exceptions = Table(
    "stock_exceptions",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("sku", Text, nullable=False),
    Column("node", Text, ForeignKey("nodes.code"), nullable=False),
    Column("short", Integer, nullable=False),
    Column("there", Integer, nullable=False),
    Column("allocated", Integer, nullable=False),
    Column("cause", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("key", Text, nullable=False),
    _now("opened_at"),
    _now("changed_at"),
    Column("cleared_at", _INSTANT),
    Column("cleared_by", Text),
    Index(
        "uq_stock_exceptions_open",
        "sku",
        "node",
        unique=True,
        postgresql_where=text("cleared_at IS NULL"),
    ),
)

# How far a source's newest snapshot of a shelf has read its own changes, and what it counted.
feed_positions = Table(
    "feed_positions",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("node", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("on_hand", Integer, nullable=False),
    Column("at", _INSTANT, nullable=False),
)

# What a source said changed since its newest snapshot that counts; older ones are in the snapshot.
feed_deltas = Table(
    "feed_deltas",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("node", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True),
    Column("change", Integer, nullable=False),
    Column("at", _INSTANT, nullable=False),
)

# Files of stock by the digest of what is in them. `at` is the moment that the file speaks of.
stock_loads = Table(
    "stock_loads",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Column("finished_at", _INSTANT),
)

# What may be sold: `domain.stock_rules` says what each kind speaks of. Empty is any.
stock_rules = Table(
    "stock_rules",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("node", Text, primary_key=True),
    Column("sku", Text, primary_key=True),
    Column("category", Text, primary_key=True),
    Column("units", Integer),
    Column("percent", Integer),
    Column("ship", Boolean),
    Column("pickup", Boolean),
    Column("actor", Text, nullable=False),
    _now("at"),
    CheckConstraint("units >= 0 AND percent BETWEEN 0 AND 100", name="amounts"),
    Index("ix_stock_rules_goods", "sku", "category"),
)

# Every change of a rule, and of a product's category, which decides what rules it has (kind
# `category`). `said` null: the rule was removed.
stock_rule_log = Table(
    "stock_rule_log",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("channel", Text, nullable=False, server_default=""),
    Column("node", Text, nullable=False, server_default=""),
    Column("sku", Text, nullable=False, server_default=""),
    Column("category", Text, nullable=False, server_default=""),
    Column("said", JSONB(none_as_null=True)),
    Column("actor", Text, nullable=False),
    _now("at"),
)

# What is watched: a SKU in the network, where `node` is empty, or at a node.
stock_watches = Table(
    "stock_watches",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("node", Text, primary_key=True),
    Column("low", Integer, nullable=False),
    Column("high", Integer, nullable=False),
    Column("state", Text, nullable=False, server_default="ok"),
    Column("actor", Text, nullable=False),
    _now("at"),
    CheckConstraint("0 <= low AND low <= high", name="limits"),
    CheckConstraint("state IN ('ok', 'low')", name="state"),
)

# What watches saw. Written by one at a time, so that whoever reads on from an id misses none.
stock_events = Table(
    "stock_events",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("type", Text, nullable=False),
    Column("sku", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("units", Integer, nullable=False),
    Column("low", Integer, nullable=False),
    Column("high", Integer, nullable=False),
    _now("at"),
    CheckConstraint("type IN ('low_stock', 'back_in_stock')", name="type"),
)

# --- Orders --------------------------------------------------------------------------------------

# `run` is the first run of the workflow chain that wrote the row; (`version_at`, `version_seq`) is
# the last change applied. `attention` and `nodes` repeat what `state` says, for search.
# Orders that supply may help: what was short of stock, and what no node could fulfill.
WAITS_FOR_SUPPLY = (
    "terminal_at IS NULL AND (state -> 'short' <> '{}' OR attention @> ARRAY['no_node'])"
)

orders = Table(
    "orders",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("channel", Text, nullable=False),
    Column("channel_order_id", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("writer", Text, nullable=False),
    Column("last_change", Text, nullable=False),
    Column("payload_hash", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    Column("email", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("postal_code", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("placed_at", _INSTANT, nullable=False),
    _now("accepted_at"),
    _now("updated_at"),
    Column("status", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("attention", ARRAY(Text), nullable=False),
    Column("nodes", ARRAY(Text), nullable=False),
    Column("state", JSONB, nullable=False),
    Column("version_at", _INSTANT, nullable=False),
    Column("version_seq", Integer, nullable=False),
    Column("promise_by", _INSTANT),
    Column("terminal_at", _INSTANT),
    UniqueConstraint("channel", "channel_order_id"),
    Index("ix_orders_page", text("accepted_at DESC"), "order_id"),
    Index("ix_orders_open", "accepted_at", postgresql_where=text("terminal_at IS NULL")),
    Index("ix_orders_waits_for_supply", "accepted_at", postgresql_where=text(WAITS_FOR_SUPPLY)),
    Index("ix_orders_email", text("lower(email)")),
    Index("ix_orders_channel_order_id", "channel_order_id"),
    Index("ix_orders_postal_code", "postal_code"),
)

Index(
    "ix_orders_name",
    func.lower(orders.c.name).label("lower_name"),
    postgresql_ops={"lower_name": "text_pattern_ops"},
)

fulfillments = Table(
    "fulfillments",
    metadata,
    Column("fulfillment_id", Text, primary_key=True),
    Column("order_id", Text, ForeignKey("orders.order_id"), nullable=False, index=True),
    Column("node", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("service", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("ship_by", _INSTANT, nullable=False),
    Column("deliver_by", _INSTANT, nullable=False),
    Column("pickup_until", _INSTANT),
    Column("cost_minor", BigInteger, nullable=False),
    Column("goods_minor", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    _now("created_at"),
    _now("updated_at"),
    Column("submitted_at", _INSTANT),
    Index("ix_fulfillments_node_status", "node", "status"),
)

order_events = Table(
    "order_events",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("order_id", Text, ForeignKey("orders.order_id"), nullable=False),
    Column("key", Text, nullable=False),
    Column("at", _INSTANT, nullable=False),
    Column("type", Text, nullable=False),
    Column("summary", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("fulfillment_id", Text, nullable=False),
    Column("data", JSONB, nullable=False),
    UniqueConstraint("order_id", "key"),
    Index("ix_order_events_timeline", "order_id", "id"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("round", Integer, primary_key=True),
    Column("decision_id", Text, nullable=False),
    Column("solver", Text, nullable=False),
    Column("cost_minor", BigInteger, nullable=False),
    Column("body", JSONB, nullable=False),
    Column("at", _INSTANT, nullable=False),
    UniqueConstraint("decision_id"),
)

# A quoted plan that one order may claim until `expires_at`: `order_id` is the order that did. The
# row may be there before the order is; one that was never claimed goes some time after its end.
promises = Table(
    "promises",
    metadata,
    Column("token", Text, primary_key=True),
    Column("channel", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    Column("expires_at", _INSTANT, nullable=False),
    _now("created_at"),
    Column("order_id", Text),
    Column("claimed_at", _INSTANT),
    Index("ix_promises_unclaimed", "expires_at", postgresql_where=text("order_id IS NULL")),
)

# --- What comes in, what goes out ----------------------------------------------------------------

# What tells a channel's documents from nodes' events and from what we tell ourselves.
FROM_CHANNELS = "kind NOT IN ('node_event', 'node_down', 'supply')"

# `order_id` of a channel's document is null where none could be read in it.
inbox = Table(
    "inbox",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("source", Text, nullable=False),
    Column("delivery_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("order_id", Text),
    Column("fulfillment_id", Text),
    Column("body", JSONB, nullable=False),
    Column("raw", LargeBinary, nullable=False),
    Column("headers", JSONB, nullable=False),
    _now("received_at"),
    *_work(),
    UniqueConstraint("source", "delivery_id"),
    Index("ix_inbox_open", "id", postgresql_where=_OPEN),
    Index("ix_inbox_open_by_order", "order_id", "id", postgresql_where=_OPEN),
    Index(
        "ix_inbox_fulfillment_id", "fulfillment_id", postgresql_where=text("fulfillment_id <> ''")
    ),
    Index("ix_inbox_from_channels", "order_id", "id", postgresql_where=text(FROM_CHANNELS)),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("body", JSONB, nullable=False),
    _now("created_at"),
    *_work(),
    UniqueConstraint("key"),
    Index("ix_outbox_open", "id", postgresql_where=_OPEN),
    Index("ix_outbox_open_by_order", "order_id", "kind", "id", postgresql_where=_OPEN),
)
