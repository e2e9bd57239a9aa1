"""
Rule sets in versions that never change, of which one is active, and their history.

Revision 0012.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_SAID_ONCE = """
CREATE FUNCTION said_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' OR (NEW.name, NEW.version, NEW.body, NEW.digest, NEW.actor, NEW.at)
      IS DISTINCT FROM (OLD.name, OLD.version, OLD.body, OLD.digest, OLD.actor, OLD.at)
      OR (OLD.status, NEW.status) NOT IN (('draft', 'active'), ('draft', 'archived'),
        ('active', 'archived'), ('archived', 'active')) THEN
    RAISE EXCEPTION 'what a version of a rule set says stays as it is' USING ERRCODE = 'CD004';
  END IF;
  RETURN NEW;
END
$$
"""
_LOG_GROWS = """
CREATE FUNCTION log_grows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '% only grows', TG_TABLE_NAME USING ERRCODE = 'CD004';
END
$$
"""


def upgrade() -> None:
    instant = sa.DateTime(timezone=True)
    op.create_table(
        "rule_sets",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, server_default="draft"),
        sa.Column("body", JSONB(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", instant, nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("status IN ('draft', 'active', 'archived')", name="status"),
        sa.CheckConstraint("version > 0", name="version"),
        sa.PrimaryKeyConstraint("name", "version", name="pk_rule_sets"),
    )
    op.create_index(
        "uq_rule_sets_active",
        "rule_sets",
        ["name"],
        unique=True,
        postgresql_where=sa.text("status = 'active'"),
    )
    op.create_table(
        "rule_set_log",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False, server_default=""),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", instant, nullable=False, server_default=sa.func.now()),
        sa.CheckConstraint("action IN ('saved', 'activated', 'archived')", name="action"),
        sa.PrimaryKeyConstraint("id", name="pk_rule_set_log"),
    )
    op.create_index("ix_rule_set_log_name", "rule_set_log", ["name", "id"])
    for function in (_SAID_ONCE, _LOG_GROWS):
        op.execute(function)
    op.execute(
        "CREATE TRIGGER said_once BEFORE UPDATE OR DELETE ON rule_sets"
        " FOR EACH ROW EXECUTE FUNCTION said_once()"
    )
    op.execute(
        "CREATE TRIGGER log_grows BEFORE UPDATE OR DELETE ON rule_set_log"
        " FOR EACH ROW EXECUTE FUNCTION log_grows()"
    )


def downgrade() -> None:
    for table in ("rule_set_log", "rule_sets"):
        op.drop_table(table)
    for function in ("said_once", "log_grows"):
        op.execute(f"DROP FUNCTION {function}")
