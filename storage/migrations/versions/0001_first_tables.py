"""
The first tables: the network, stock and its ledger, orders and their story, inbox and outbox.

Revision 0001.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _network()
    _stock()
    _orders()
    _queues()


def downgrade() -> None:
    for table in (
        "outbox",
        "inbox",
        "decisions",
        "order_events",
        "fulfillments",
        "orders",
        "movements",
        "operations",
        "node_capacity",
        "allocation_lines",
        "allocations",
        "reservation_lines",
        "reservations",
        "stock",
        "pool",
        "api_keys",
        "credentials",
        "channels",
        "rate_cards",
        "product_aliases",
        "products",
        "node_log",
        "nodes",
    ):
        op.drop_table(table)


def _network() -> None:
    op.create_table(
        "nodes",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("capacity_per_day", sa.Integer()),
        sa.Column("body", postgresql.JSONB(), nullable=False),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.CheckConstraint("status IN ('online', 'offline')", name="status"),
        sa.PrimaryKeyConstraint("code", name="pk_nodes"),
    )
    op.create_table(
        "node_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.ForeignKeyConstraint(["node"], ["nodes.code"], name="fk_node_log_node"),
        sa.PrimaryKeyConstraint("id", name="pk_node_log"),
    )
    op.create_index("ix_node_log_node", "node_log", ["node"], unique=False)
    op.create_table(
        "products",
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(), nullable=False),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.PrimaryKeyConstraint("sku", name="pk_products"),
    )
    op.create_table(
        "product_aliases",
        sa.Column("alias", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["sku"], ["products.sku"], name="fk_product_aliases_sku", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("alias", name="pk_product_aliases"),
    )
    op.create_index("ix_product_aliases_sku", "product_aliases", ["sku"], unique=False)
    op.create_table(
        "rate_cards",
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("service", name="pk_rate_cards"),
    )
    op.create_table(
        "channels",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("settings", postgresql.JSONB(), nullable=False),
        sa.Column("when_short", sa.Text(), nullable=False),
        sa.Column("cursor", sa.Text()),
        sa.CheckConstraint("kind IN ('shopify', 'magento', 'api')", name="kind"),
        sa.CheckConstraint("when_short IN ('backorder', 'refuse')", name="when_short"),
        sa.PrimaryKeyConstraint("code", name="pk_channels"),
    )
    op.create_table(
        "credentials",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sealed", sa.Text(), nullable=False),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.PrimaryKeyConstraint("owner", "name", name="pk_credentials"),
    )
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("channels", sa.ARRAY(sa.Text())),
        sa.Column("nodes", sa.ARRAY(sa.Text())),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("revoked_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("key_id", name="pk_api_keys"),
    )


def _stock() -> None:
    op.create_table(
        "pool",
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("available", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("sku", name="pk_pool"),
    )
    op.create_table(
        "stock",
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("on_hand", sa.Integer(), server_default="0", nullable=False),
        sa.Column("allocated", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("0 <= allocated AND allocated <= on_hand", name="never_oversold"),
        sa.ForeignKeyConstraint(["node"], ["nodes.code"], name="fk_stock_node"),
        sa.PrimaryKeyConstraint("sku", "node", name="pk_stock"),
    )
    op.create_index("ix_stock_node", "stock", ["node"], unique=False)
    op.create_table(
        "reservations",
        sa.Column("reservation_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text()),
        sa.Column("node", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("state IN ('held', 'released')", name="state"),
        sa.ForeignKeyConstraint(["node"], ["nodes.code"], name="fk_reservations_node"),
        sa.PrimaryKeyConstraint("reservation_id", name="pk_reservations"),
    )
    op.create_index("ix_reservations_order_id", "reservations", ["order_id"], unique=False)
    op.create_table(
        "reservation_lines",
        sa.Column("reservation_id", sa.Text(), nullable=False),
        sa.Column("line_id", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.CheckConstraint("quantity >= 0", name="quantity"),
        sa.ForeignKeyConstraint(
            ["reservation_id"],
            ["reservations.reservation_id"],
            name="fk_reservation_lines_reservation_id",
        ),
        sa.PrimaryKeyConstraint("reservation_id", "line_id", name="pk_reservation_lines"),
    )
    op.create_index(
        "ix_reservation_lines_open",
        "reservation_lines",
        ["sku"],
        unique=False,
        postgresql_where=sa.text("quantity > 0"),
    )
    op.create_table(
        "allocations",
        sa.Column("fulfillment_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("node", sa.Text()),
        sa.Column("capacity_day", sa.Date()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("state IN ('held', 'void')", name="state"),
        sa.ForeignKeyConstraint(["node"], ["nodes.code"], name="fk_allocations_node"),
        sa.PrimaryKeyConstraint("fulfillment_id", name="pk_allocations"),
    )
    op.create_index(
        "ix_allocations_capacity", "allocations", ["node", "capacity_day"], unique=False
    )
    op.create_index("ix_allocations_order_id", "allocations", ["order_id"], unique=False)
    op.create_table(
        "allocation_lines",
        sa.Column("fulfillment_id", sa.Text(), nullable=False),
        sa.Column("line_id", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("shipped", sa.Integer(), server_default="0", nullable=False),
        sa.Column("returned", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "quantity >= 0 AND shipped >= 0 AND returned >= 0",
            name="quantities",
        ),
        sa.ForeignKeyConstraint(
            ["fulfillment_id"],
            ["allocations.fulfillment_id"],
            name="fk_allocation_lines_fulfillment_id",
        ),
        sa.PrimaryKeyConstraint("fulfillment_id", "line_id", name="pk_allocation_lines"),
    )
    op.create_index(
        "ix_allocation_lines_open",
        "allocation_lines",
        ["sku"],
        unique=False,
        postgresql_where=sa.text("quantity > 0"),
    )
    op.create_table(
        "node_capacity",
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("used", sa.Integer(), nullable=False),
        sa.Column("capacity", sa.Integer()),
        sa.CheckConstraint(
            "used >= 0 AND (capacity IS NULL OR used <= capacity)",
            name="within",
        ),
        sa.ForeignKeyConstraint(["node"], ["nodes.code"], name="fk_node_capacity_node"),
        sa.PrimaryKeyConstraint("node", "day", name="pk_node_capacity"),
    )
    op.create_table(
        "operations",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "key", name="pk_operations"),
    )
    op.create_table(
        "movements",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("node", sa.Text()),
        sa.Column("on_hand_delta", sa.Integer(), nullable=False),
        sa.Column("allocated_delta", sa.Integer(), nullable=False),
        sa.Column("reserved_delta", sa.Integer(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text()),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("cause <> '' AND actor <> ''", name="told"),
        sa.PrimaryKeyConstraint("id", name="pk_movements"),
    )
    op.create_index("ix_movements_sku_node", "movements", ["sku", "node"], unique=False)


def _orders() -> None:
    op.create_table(
        "orders",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("channel_order_id", sa.Text(), nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("writer", sa.Text(), nullable=False),
        sa.Column("last_change", sa.Text(), nullable=False),
        sa.Column("payload_hash", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("postal_code", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("total_minor", sa.BigInteger(), nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "accepted_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attention", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("nodes", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("state", postgresql.JSONB(), nullable=False),
        sa.Column("version_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version_seq", sa.Integer(), nullable=False),
        sa.Column("promise_by", sa.DateTime(timezone=True)),
        sa.Column("terminal_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("order_id", name="pk_orders"),
        sa.UniqueConstraint(
            "channel", "channel_order_id", name="uq_orders_channel_channel_order_id"
        ),
    )
    op.create_index("ix_orders_channel_order_id", "orders", ["channel_order_id"], unique=False)
    op.create_index("ix_orders_email", "orders", [sa.literal_column("lower(email)")], unique=False)
    op.create_index(
        "ix_orders_name",
        "orders",
        [sa.literal_column("lower(name) text_pattern_ops")],
        unique=False,
    )
    op.create_index(
        "ix_orders_open",
        "orders",
        ["accepted_at"],
        unique=False,
        postgresql_where=sa.text("terminal_at IS NULL"),
    )
    op.create_index(
        "ix_orders_page",
        "orders",
        [sa.literal_column("accepted_at DESC"), "order_id"],
        unique=False,
    )
    op.create_index("ix_orders_postal_code", "orders", ["postal_code"], unique=False)
    op.create_table(
        "fulfillments",
        sa.Column("fulfillment_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("ship_by", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deliver_by", sa.DateTime(timezone=True), nullable=False),
        sa.Column("pickup_until", sa.DateTime(timezone=True)),
        sa.Column("cost_minor", sa.BigInteger(), nullable=False),
        sa.Column("goods_minor", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column(
            "updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("submitted_at", sa.DateTime(timezone=True)),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"], name="fk_fulfillments_order_id"),
        sa.PrimaryKeyConstraint("fulfillment_id", name="pk_fulfillments"),
    )
    op.create_index("ix_fulfillments_node_status", "fulfillments", ["node", "status"], unique=False)
    op.create_index("ix_fulfillments_order_id", "fulfillments", ["order_id"], unique=False)
    op.create_table(
        "order_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("fulfillment_id", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(["order_id"], ["orders.order_id"], name="fk_order_events_order_id"),
        sa.PrimaryKeyConstraint("id", name="pk_order_events"),
        sa.UniqueConstraint("order_id", "key", name="uq_order_events_order_id_key"),
    )
    op.create_index("ix_order_events_timeline", "order_events", ["order_id", "id"], unique=False)
    op.create_table(
        "decisions",
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("decision_id", sa.Text(), nullable=False),
        sa.Column("solver", sa.Text(), nullable=False),
        sa.Column("cost_minor", sa.BigInteger(), nullable=False),
        sa.Column("body", postgresql.JSONB(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("order_id", "round", name="pk_decisions"),
        sa.UniqueConstraint("decision_id", name="uq_decisions_decision_id"),
    )


def _queues() -> None:
    op.create_table(
        "inbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text()),
        sa.Column("fulfillment_id", sa.Text()),
        sa.Column("body", postgresql.JSONB(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("headers", postgresql.JSONB(), nullable=False),
        sa.Column(
            "received_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column(
            "due_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("claimed_until", sa.DateTime(timezone=True)),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True)),
        sa.Column("dead_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_inbox"),
        sa.UniqueConstraint("source", "delivery_id", name="uq_inbox_source_delivery_id"),
    )
    op.create_index(
        "ix_inbox_fulfillment_id",
        "inbox",
        ["fulfillment_id"],
        unique=False,
        postgresql_where=sa.text("fulfillment_id <> ''"),
    )
    op.create_index(
        "ix_inbox_open",
        "inbox",
        ["id"],
        unique=False,
        postgresql_where=sa.text("done_at IS NULL AND dead_at IS NULL"),
    )
    op.create_index(
        "ix_inbox_open_by_order",
        "inbox",
        ["order_id", "id"],
        unique=False,
        postgresql_where=sa.text("done_at IS NULL AND dead_at IS NULL"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column(
            "due_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False
        ),
        sa.Column("claimed_until", sa.DateTime(timezone=True)),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", sa.Text(), server_default="", nullable=False),
        sa.Column("note", sa.Text(), server_default="", nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True)),
        sa.Column("dead_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_outbox"),
        sa.UniqueConstraint("key", name="uq_outbox_key"),
    )
    op.create_index(
        "ix_outbox_open",
        "outbox",
        ["id"],
        unique=False,
        postgresql_where=sa.text("done_at IS NULL AND dead_at IS NULL"),
    )
    op.create_index(
        "ix_outbox_open_by_order",
        "outbox",
        ["order_id", "kind", "id"],
        unique=False,
        postgresql_where=sa.text("done_at IS NULL AND dead_at IS NULL"),
    )
