from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.postgres import shared_postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        return shared_postgres().new_database()
    return f"sqlite:///{tmp_path / 'catalogue.db'}"
