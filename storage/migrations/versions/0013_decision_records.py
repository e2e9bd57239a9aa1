"""
A decision is kept as its own few bytes and pieces that many share; neither is ever changed.

Revision 0013. Decisions of before keep their problem in their body.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# A piece that is gone, or is not what its name says, is found by the auditor; nobody can mend it.
_RECORDED_ONCE = """
CREATE FUNCTION recorded_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF coalesce(current_setting('crossdock.repair', true), '') = '' THEN
    RAISE EXCEPTION '% only grows: a decision stays as it was recorded', TG_TABLE_NAME
      USING ERRCODE = 'CD003';
  END IF;
  RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END
$$
"""
_TABLES = ("decisions", "decision_pieces")


def upgrade() -> None:
    op.create_table(
        "decision_pieces",
        sa.Column("name", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_decision_pieces"),
    )
    op.add_column("decisions", sa.Column("own", sa.LargeBinary()))
    op.add_column("decisions", sa.Column("pieces", ARRAY(sa.LargeBinary())))
    op.add_column("decisions", sa.Column("digest", sa.LargeBinary()))
    op.create_check_constraint("packed", "decisions", "num_nulls(own, pieces, digest) IN (0, 3)")
    op.execute(_RECORDED_ONCE)
    for table in _TABLES:
        op.execute(
            f"CREATE TRIGGER recorded_once BEFORE UPDATE OR DELETE ON {table}"
            " FOR EACH ROW EXECUTE FUNCTION recorded_once()"
        )


def downgrade() -> None:
    # What was packed cannot be read by what knows only bodies: it goes with what packed it.
    for table in _TABLES:
        op.execute(f"DROP TRIGGER recorded_once ON {table}")
    op.execute("DELETE FROM decisions WHERE own IS NOT NULL")
    op.drop_constraint("ck_decisions_packed", "decisions")
    for column in ("own", "pieces", "digest"):
        op.drop_column("decisions", column)
    op.drop_table("decision_pieces")
    op.execute("DROP FUNCTION recorded_once")
