"""Indexes of what lists show."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_SHOWN = sa.text("deleted_at IS NULL")
_DAMAGED = sa.text("damaged != ''")
_LISTED = {"created_at": ["vm_name"], "vm_name": [], "stored_bytes": ["vm_name"]}


def upgrade() -> None:
    op.drop_index("ix_run_kind_created_at", "run")
    op.drop_index("ix_run_repository_id_created_at", "run")
    for order, more in _LISTED.items():
        op.create_index(
            f"ix_run_listed_by_{order}",
            "run",
            [order, "id", "kind", "state", "backup_type", "repository_id", *more],
            sqlite_where=_SHOWN,
            postgresql_where=_SHOWN,
        )
    ended = ["completed_at", "kind", "state", "read_bytes", "stored_bytes"]
    op.create_index("ix_run_completed_at", "run", ended)
    by_vm = ["repository_id", "vm_id"]
    op.create_index("ix_restore_point_repository_id_vm_id", "restore_point", by_vm)
    op.create_index(
        "ix_restore_point_damaged",
        "restore_point",
        ["repository_id"],
        sqlite_where=_DAMAGED,
        postgresql_where=_DAMAGED,
    )


def downgrade() -> None:
    op.drop_index("ix_restore_point_damaged", "restore_point")
    op.drop_index("ix_restore_point_repository_id_vm_id", "restore_point")
    op.drop_index("ix_run_completed_at", "run")
    for order in _LISTED:
        op.drop_index(f"ix_run_listed_by_{order}", "run")
    op.create_index("ix_run_repository_id_created_at", "run", ["repository_id", "created_at"])
    op.create_index("ix_run_kind_created_at", "run", ["kind", "created_at"])
