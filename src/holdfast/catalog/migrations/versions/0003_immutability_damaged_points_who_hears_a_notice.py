"""Immutability of repositories and points, points that cannot be read, who hears of a notice."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from holdfast.catalog.models.base import Json, UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("notice", schema=None) as batch_op:
        batch_op.add_column(sa.Column("user_id", sa.String(36), nullable=True))
    with op.batch_alter_table("repository", schema=None) as batch_op:
        batch_op.add_column(_new("immutable_days", sa.Integer(), "0"))
        batch_op.add_column(_new("immutable_mode", sa.String(20), "''"))
        batch_op.add_column(_new("is_immutable", sa.Boolean(), "false"))
        batch_op.add_column(_new("immutable_message", sa.Text(), "''"))
        batch_op.add_column(sa.Column("immutable_tested_at", UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column("locks_renewed_at", UtcDateTime(), nullable=True))
        batch_op.add_column(_new("damaged_points", Json, "'[]'"))
    with op.batch_alter_table("restore_point", schema=None) as batch_op:
        batch_op.add_column(sa.Column("locked_until", UtcDateTime(), nullable=True))
        batch_op.add_column(_new("damaged", sa.Text(), "''"))
    # A default is for the rows that are there; the models have none.
    with op.batch_alter_table("repository", schema=None) as batch_op:
        for name in (
            "immutable_days",
            "immutable_mode",
            "is_immutable",
            "immutable_message",
            "damaged_points",
        ):
            batch_op.alter_column(name, server_default=None)
    with op.batch_alter_table("restore_point", schema=None) as batch_op:
        batch_op.alter_column("damaged", server_default=None)


def downgrade() -> None:
    with op.batch_alter_table("restore_point", schema=None) as batch_op:
        batch_op.drop_column("damaged")
        batch_op.drop_column("locked_until")
    with op.batch_alter_table("repository", schema=None) as batch_op:
        for name in (
            "damaged_points",
            "locks_renewed_at",
            "immutable_tested_at",
            "immutable_message",
            "is_immutable",
            "immutable_mode",
            "immutable_days",
        ):
            batch_op.drop_column(name)
    with op.batch_alter_table("notice", schema=None) as batch_op:
        batch_op.drop_column("user_id")


def _new(name: str, kind: Any, default: str) -> sa.Column[Any]:
    """Filled in the rows that are there."""
    return sa.Column(name, kind, nullable=False, server_default=sa.text(default))
