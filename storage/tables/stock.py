"""Units: how many, whose, and every movement of them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from storage.tables.base import INSTANT, metadata, now

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
    Column("counted_at", INSTANT),
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
    Column("expires_at", INSTANT),
    now("at"),
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

# What clients asked for under their keys, as digests, and in which order: written in the statement
# of the reservation. Orders' own reservations have none.
reservation_requests = Table(
    "reservation_requests",
    metadata,
    Column("id", BigInteger, Identity(), nullable=False),
    Column("reservation_id", Text, primary_key=True),
    Column("channel", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Index("ix_reservation_requests_channel", "channel", "id"),
)

# One fulfillment's units at its node. `capacity_day` is the node's day it has a place on, null
# where it has none. Held: the node was to be asked; confirmed: it has accepted or shipped. Void:
# given back before it was made; a late attempt makes it no more.
allocations = Table(
    "allocations",
    metadata,
    Column("fulfillment_id", Text, primary_key=True),
    Column("order_id", Text, nullable=False, index=True),
    Column("node", Text, ForeignKey("nodes.code")),
    Column("channel", Text, nullable=False, server_default=""),
    Column("capacity_day", Date),
    Column("state", Text, nullable=False),
    now("at"),
    CheckConstraint("state IN ('held', 'confirmed', 'void')", name="state"),
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

# Fulfillments, and units of them, that a node has taken on for one of its own days; `capacity` and
# `units_capacity` are the limits that held when it last took one on.
node_capacity = Table(
    "node_capacity",
    metadata,
    Column("node", Text, ForeignKey("nodes.code"), primary_key=True),
    Column("day", Date, primary_key=True),
    Column("used", Integer, nullable=False),
    Column("capacity", Integer),
    Column("units", Integer, nullable=False, server_default="0"),
    Column("units_capacity", Integer),
    CheckConstraint("used >= 0 AND (capacity IS NULL OR used <= capacity)", name="within"),
    CheckConstraint(
        "units >= 0 AND (units_capacity IS NULL OR units <= units_capacity)", name="units_within"
    ),
)

# What was done once and must not be done twice.
operations = Table(
    "operations",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    now("at"),
)

# The append-only ledger: stock and reservations are the sums of it. What stood on the shelf before
# and after is told where there is a node. `stated_by` says whose statement made the difference
# (`count`, `feed:{source}`, `load:{id}`, `shortage`); null where units moved. `line_id` is the line
# of the reservation `key` that the movement made. Rows are written once: a trigger sees to it.
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
    now("at"),
    Column("line_id", Text),
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
    now("opened_at"),
    now("changed_at"),
    Column("cleared_at", INSTANT),
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
    Column("at", INSTANT, nullable=False),
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
    Column("at", INSTANT, nullable=False),
)

# Files of stock by the digest of what is in them. `at` is the moment that the file speaks of.
stock_loads = Table(
    "stock_loads",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("at", INSTANT, nullable=False),
    Column("finished_at", INSTANT),
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
    now("at"),
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
    now("at"),
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
    now("at"),
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
    now("at"),
    CheckConstraint("type IN ('low_stock', 'back_in_stock')", name="type"),
)
