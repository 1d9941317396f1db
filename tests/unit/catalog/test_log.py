"""How long lines of the log are kept."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from holdfast.catalog import log
from holdfast.catalog.database import Database
from holdfast.catalog.models import Base, LogEntry
from holdfast.core.clock import SystemClock

NOW = SystemClock().now()


@pytest.fixture
def database(tmp_path: Path) -> Database:
    opened = Database.open(f"sqlite:///{tmp_path / 'catalogue.db'}")
    Base.metadata.create_all(opened.engine)
    return opened


def add(database: Database, *moments: datetime) -> None:
    with database.writing() as session:
        for moment in moments:
            log.add_line(session, moment, "info", "a line", source="worker")


def ages_days(database: Database) -> list[int]:
    with database.reading() as session:
        return [(NOW - at).days for at in session.scalars(select(LogEntry.at))]


def test_lines_older_than_the_setting_go(database: Database) -> None:
    add(database, *(NOW - timedelta(days=days) for days in (100, 31, 29, 0)))
    with database.writing() as session:
        assert not log.forget_old_lines(session, NOW, keep_days=30)
    assert ages_days(database) == [29, 0]


def test_never_more_than_so_many(database: Database) -> None:
    add(database, *(NOW - timedelta(days=days) for days in (5, 4, 3, 2)))
    with database.writing() as session:
        assert not log.forget_old_lines(session, NOW, keep_days=30, most=3)
    assert ages_days(database) == [4, 3, 2]


def test_many_go_in_several_transactions(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_AT_ONCE", 2)
    add(database, *(NOW - timedelta(days=days) for days in (90, 80, 70, 1)))
    rounds = 1
    while True:
        with database.writing() as session:
            if not log.forget_old_lines(session, NOW, keep_days=30):
                break
        rounds += 1
    assert (rounds, ages_days(database)) == (2, [1])
