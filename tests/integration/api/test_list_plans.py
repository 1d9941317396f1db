"""How SQLite finds what lists show: by an index in the order asked for, however many rows there
are. `make scale` measures what it comes to."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import pytest
from sqlalchemy import event
from starlette.testclient import TestClient

from holdfast.catalog.database import Database
from tests.support.service import TestService, open_test_service

_LISTS = {
    "/backup/list": "listed_by_created_at",
    "/backup/list?order=asc": "listed_by_created_at",
    "/backup/list?status=completed": "listed_by_created_at",
    "/backup/list?status=failed&backup_type=full": "listed_by_created_at",
    "/backup/list?q=web": "listed_by_created_at",
    "/backup/list?repository_id=x": "listed_by_created_at",
    "/backup/list?since=2026-01-01T00:00:00Z": "listed_by_created_at",
    "/backup/list?sort=vm_name&order=asc": "listed_by_vm_name",
    "/backup/list?sort=vm_name&status=completed": "listed_by_vm_name",
    "/backup/list?vm_name=web": "listed_by_vm_name",
    "/backup/list?sort=stored_bytes&q=web": "listed_by_stored_bytes",
    "/backup/list?vm_id=x": "vm_id_created_at",
    "/runs": "listed_by_created_at",
    "/runs?state=completed": "listed_by_created_at",
    "/runs?kind=backup": "listed_by_created_at",
    "/runs?state=active": "state_priority_created_at",
}


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> Generator[TestService]:
    with open_test_service(tmp_path_factory.mktemp("plans")) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(sqlite: TestService) -> TestClient:
    return sqlite.administrator()


@pytest.mark.parametrize("path", _LISTS)
def test_a_list_is_read_in_its_order(sqlite: TestService, client: TestClient, path: str) -> None:
    database = sqlite.context.database
    asked = _asked(database, lambda: client.get(f"/api/v1{path}"))
    count, page = (one for one in asked if " FROM run" in one[0] and "vm_name" in one[0])
    assert "count(" in count[0] and " LIMIT " in page[0]
    for statement in (count, page):
        [first, *rest] = _plan(database, *statement)
        assert "run USING" in first and "INDEX ix_run_" in first, first
        assert not any("run" in step.split() for step in rest), rest
    first, *rest = _plan(database, *page)
    assert f"ix_run_{_LISTS[path]}" in first
    if "listed_by" in first and "vm_name=" not in path:
        assert "USE TEMP B-TREE FOR ORDER BY" not in rest, "sorted after all of it was read"


def test_the_days_of_the_dashboard_are_counted_from_an_index(
    sqlite: TestService, client: TestClient
) -> None:
    database = sqlite.context.database
    asked = _asked(database, lambda: client.get("/api/v1/overview"))
    [days] = [one for one in asked if "GROUP BY" in one[0] and "completed_at" in one[0]]
    assert "COVERING INDEX ix_run_completed_at" in _plan(database, *days)[0]


def test_repositories_are_counted_from_indexes(sqlite: TestService, client: TestClient) -> None:
    database = sqlite.context.database
    asked = _asked(database, lambda: client.get("/api/v1/repositories"))
    counts = [one for one in asked if "count(" in one[0] and "restore_point" in one[0]]
    plans = {_plan(database, *one)[0].rpartition("INDEX ")[2] for one in counts}
    assert plans == {"ix_restore_point_repository_id_vm_id", "ix_restore_point_damaged"}


def _asked(database: Database, ask: Any) -> list[tuple[str, Any]]:
    statements: list[tuple[str, Any]] = []

    def note(*arguments: Any) -> None:
        statements.append((" ".join(arguments[2].split()), arguments[3]))

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        assert ask().status_code == 200
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    return statements


def _plan(database: Database, statement: str, parameters: Any) -> Sequence[str]:
    with database.engine.connect() as connection:
        rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).fetchall()
    return [str(row[3]) for row in rows]
