"""The tables that the migrations make are the models', on both databases."""

from __future__ import annotations

import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from holdfast.catalog.database import Database
from holdfast.catalog.migrations import DatabaseTooNew, upgrade
from holdfast.catalog.models import Base


def test_migrations_make_what_the_models_say(database_url: str) -> None:
    database = Database.open(database_url)
    upgrade(database)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == [], "run `make migration WHAT=…`"
    database.close()


def test_many_that_start_at_once_do_not_meet(database_url: str) -> None:
    problems: list[Exception] = []

    def one() -> None:
        database = Database.open(database_url)
        try:
            upgrade(database)
        except Exception as error:  # noqa: BLE001 - told by the assertion below
            problems.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=one) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_a_newer_database_is_left_alone(database_url: str) -> None:
    database = Database.open(database_url)
    upgrade(database)
    with database.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseTooNew, match="9999"):
        upgrade(database)
    database.close()
