"""The history of the tables. Enter at `upgrade`, which the service calls at every start.

`python -m holdfast.catalog.migrations "what changes"` writes the next step from the difference
between the models and a database at the newest step; look it through before committing it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from holdfast.catalog.database import Database, DatabaseUnavailable, make_state_folder
from holdfast.core.errors import HoldfastError

_LOCK = 0x486F6C6466617374
_FOLDER = Path(__file__).parent


@dataclass(kw_only=True, eq=False)
class DatabaseTooNew(HoldfastError):
    code = "database_too_new"
    template = "the database is at step {found}, which this version of Holdfast does not know"
    hint = "Start the newer version that wrote it; nothing was changed"
    found: str


def upgrade(database: Database) -> None:
    """Bring the tables to the newest step. Of several processes that start at once one does it and
    the others wait. Raises DatabaseTooNew, DatabaseUnavailable."""
    with _alone(database), database.engine.connect() as connection:
        if database.engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
            connection.commit()
        config = configuration(connection)
        known = {step.revision for step in ScriptDirectory.from_config(config).walk_revisions()}
        present = MigrationContext.configure(connection).get_current_revision()
        connection.rollback()
        if present is not None and present not in known:
            raise DatabaseTooNew(found=present)
        command.upgrade(config, "head")
        connection.commit()
        if database.engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
            connection.commit()


def configuration(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


@contextmanager
def _alone(database: Database) -> Generator[None]:
    """SQLite: a lock beside the file, made here with its folder."""
    name = database.engine.url.database
    if not database.is_sqlite or name is None:
        yield
        return
    path = Path(name)
    try:
        make_state_folder(path.parent)
        beside = path.with_name(path.name + ".lock")
        with os.fdopen(os.open(beside, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                path.touch(mode=0o600)
            yield
    except OSError as error:
        raise DatabaseUnavailable(problem=f"{path}: {error.strerror}") from error
