"""What uses `service` runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.place import Place, open_place, stock
from tests.support.postgres import shared_postgres
from tests.support.service import TestService, open_test_service


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return shared_postgres().new_database()
    return f"sqlite:///{tmp_path / 'state' / 'holdfast.db'}"


@pytest.fixture
def service(database_url: str, tmp_path: Path) -> Generator[TestService]:
    with open_test_service(tmp_path, database_url=database_url) as opened:
        yield opened


@pytest.fixture
def place(tmp_path: Path) -> Generator[Place]:
    with open_place(tmp_path) as made:
        yield made


@pytest.fixture
def stocked(place: Place, tmp_path: Path) -> Place:
    """One VM with a full and an incremental backup; platform and repository are added."""
    stock(place, tmp_path)
    return place
