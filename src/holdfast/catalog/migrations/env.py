"""Run by Alembic: the connection comes from `holdfast.catalog.migrations`."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import text

from holdfast.catalog.models import Base, UtcDateTime
from holdfast.catalog.models.base import Json, Sequence64


def render(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:
    """Our own types by their names: the same step serves both databases."""
    if kind != "type":
        return False
    imports = autogen.imports
    imports.add("from holdfast.catalog.models.base import Json, Sequence64, UtcDateTime")
    if isinstance(item, UtcDateTime):
        return "UtcDateTime()"
    if item is Json or type(item) is type(Json):
        return "Json"
    return "Sequence64" if item is Sequence64 else False


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=True,
    render_item=render,
    compare_type=True,
)
sqlite = connection.dialect.name == "sqlite"
if sqlite:
    # Tables are changed by copying them: what refers to them must not be looked at meanwhile.
    connection.execute(text("PRAGMA foreign_keys=OFF"))
    connection.rollback()
    connection.execute(text("BEGIN IMMEDIATE"))
with context.begin_transaction():
    context.run_migrations()
if sqlite:
    connection.commit()
    connection.execute(text("PRAGMA foreign_keys=ON"))
