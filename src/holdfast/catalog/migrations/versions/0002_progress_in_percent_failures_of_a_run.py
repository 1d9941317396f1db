"""Progress in percent, failures of a run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("percent", sa.Double(), nullable=False, server_default=sa.text("0"))
        )
        batch_op.add_column(
            sa.Column("failures", sa.Integer(), nullable=False, server_default=sa.text("0"))
        )
    # A default is for the rows that are there; the models have none.
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.alter_column("percent", server_default=None)
        batch_op.alter_column("failures", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("run", schema=None) as batch_op:
        batch_op.drop_column("failures")
        batch_op.drop_column("percent")
