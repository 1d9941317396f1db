"""The service against its own OpenAPI document: whatever is sent, the answer is one that the
document has, and never a failure of the service.

Requests are made by schemathesis, both as they should be and as they should not, the same ones at
each run. `HOLDFAST_TEST_REQUESTS=200` makes as many of each kind for every call, others each time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from holdfast.policy.access import Role
from tests.support.place import Place, open_place, stock

TOLD = os.environ.get("HOLDFAST_TEST_REQUESTS")
REQUESTS = int(TOLD or 2)
"""Of each kind, for every call."""
AWAY = {"platform_unreachable", "store_unavailable", "oidc_provider_failed", "tool_missing"}
"""A 503 that says so is right: what the request names is not there."""
_FIXED_CALLS = {
    "POST /backup/start": "202",
    "GET /backup/list": "200 ?vm_name ?backup_type ?status ?vm_id ?repository_id ?since ?until",
    "GET /backup/{backup_id}": "200",
    "DELETE /backup/{backup_id}": "204 409",
    "GET /backup/chain": "200 ?vm_name ?vm_id ?disk_id",
    "POST /restore/mount": "201",
    "GET /restore/{mount_id}/files": "200 ?path ?limit ?cursor",
    "GET /restore/{mount_id}/download": "200 206 ?path ?format",
    "DELETE /restore/{mount_id}": "204",
    "GET /repositories": "200 ?limit ?cursor",
    "GET /repositories/{repository_id}/storage": "200",
}
"""What the plan fixed, written out once more: statuses and parameters."""
_FIXED_FIELDS = {
    "BackupStart": "vm_name backup_type repository_id vm_id disks",
    "BackupList": "backups total",
    "BackupJob": "id vm_context_id vm_name backup_type status repository_id file_path "
    "bytes_transferred total_bytes created_at completed_at error_message backup_id vm_id phase "
    "progress_percent throughput_bps eta_seconds started_at stored_bytes parent_id plan disks "
    "consistency error_code",
    "BackupChain": "chain_id vm_context_id disk_id full_backup_id backups total_size_bytes "
    "backup_count",
    "BackupChains": "chains",
    "MountRequest": "backup_id disks",
    "RestoreMount": "mount_id backup_id mount_path nbd_device status expires_at created_at volumes",
    "VolumeInfo": "id label filesystem size_bytes error",
    "FileList": "mount_id path files total",
    "FileEntry": "name path type size mode uid gid modified_time symlink_target path_b64",
    "RepositoryList": "repositories total",
    "Storage": "repository_id total_bytes used_bytes available_bytes used_percent backup_count "
    "logical_bytes dedup_ratio last_check_at",
    "Problem": "type title status code detail params",
}
_FIXED_VALUES = {
    ("BackupJob", "backup_type"): "full incremental",
    ("BackupJob", "status"): "pending running completed failed cancelled",
    ("RestoreMount", "status"): "mounting mounted unmounting failed",
    ("FileEntry", "type"): "file directory symlink other",
}
_CHECKS = [response_schema_conformance, status_code_conformance, content_type_conformance]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Generator[Place]:
    folder = tmp_path_factory.mktemp("contract")
    with open_place(folder) as made:
        stock(made, folder)
        yield made


@pytest.fixture(scope="module")
def known(place: Place) -> Mapping[str, str]:
    """Ids of what is there, by the names that parameters and fields have for them."""
    [repository] = place.get("/repositories")["repositories"]
    [platform] = place.get("/platforms")["items"]
    [vm] = place.get("/vms")["items"]
    [backup, _] = place.get("/backup/list")["backups"]
    mount = place.post("/restore/mount", {"backup_id": backup["id"]}, 201)
    group = place.post("/machine-groups", {"name": "G", "vm_ids": []}, 201)
    user = place.post("/users", {"name": "someone", "grants": [{"role": Role.VIEWER.value}]}, 201)
    return {
        "repository_id": repository["id"],
        "platform_id": platform["id"],
        "vm_id": vm["id"],
        "backup_id": backup["id"],
        "run_id": backup["id"],
        "mount_id": mount["mount_id"],
        "group_id": group["id"],
        "user_id": user["id"],
    }


def test_every_call_answers_as_the_document_says(
    place: Place, known: Mapping[str, str], tmp_path: Path
) -> None:
    app: Any = place.client.app
    schema = schemathesis.openapi.from_dict(app.openapi())
    problems: dict[str, str] = {}
    calls = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in GenerationMode.POSITIVE, GenerationMode.NEGATIVE:
            send = _sender(place, known, tmp_path, problems)
            _send_many(operation.as_strategy(generation_mode=mode), send)
            calls += 1
    assert calls > 200
    assert not problems, "\n\n".join(problems.values())


def _send_many(cases: st.SearchStrategy[Any], send: Callable[[Any, bool], None]) -> None:
    @given(case=cases, real=st.booleans())
    @settings(
        max_examples=REQUESTS,
        deadline=None,
        database=None,
        derandomize=TOLD is None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def one(case: Any, real: bool) -> None:
        send(case, real)

    with suppress(Unsatisfiable):  # nothing can be wrong where nothing is sent
        one()


def _sender(
    place: Place, known: Mapping[str, str], folder: Path, problems: dict[str, str]
) -> Callable[[Any, bool], None]:
    def send(case: Any, real: bool) -> None:
        if real and case.method != "DELETE":
            _use_known(case.path_parameters, known)
            _use_known(case.query, known)
            _use_known(case.body, known)
        _keep_on_this_host(case.body, place, folder)
        options = case.as_transport_kwargs(base_url="http://127.0.0.1")
        options["headers"].pop("Authorization", None)
        options.pop("cookies", None)
        with suppress(httpx.InvalidURL):  # longer than this client can send
            _judge(case, options, place.client.request(**options), problems)

    return send


def _judge(case: Any, options: Any, answer: Any, problems: dict[str, str]) -> None:
    if answer.status_code == 503 and answer.json()["code"] in AWAY:
        return
    try:
        case.validate_response(answer, checks=[not_a_server_error, *_CHECKS])
    except Exception as error:  # noqa: BLE001 - all of them, one of a kind, at the end
        sent = f"{case.operation.label}: {options}"[:500]
        kind = f"{case.operation.label} {answer.status_code}"
        problems[kind] = f"{sent}\n{answer.status_code} {answer.text[:300]}\n{error}"[:1200]


def _use_known(values: Any, known: Mapping[str, str]) -> None:
    if isinstance(values, dict):
        for name in values:
            if name in known:
                values[name] = known[name]


def _keep_on_this_host(body: Any, place: Place, folder: Path) -> None:
    """What is asked for is done: not in any folder, and not at any address."""
    if not isinstance(body, dict):
        return
    if isinstance(body.get("location"), str) and body["location"].startswith(("/", "s3:")):
        body["location"] = str(folder / "made" / str(len(body["location"])))
    if body.get("immutable_days"):
        body["immutable_days"] = 0  # nobody could remove it after the test
    if isinstance(body.get("output"), str):
        body["output"] = str(folder / "out")
    if isinstance(body.get("path"), str) and body["path"].startswith("/"):
        body["path"] = str(place.images)
    if isinstance(body.get("address"), dict):
        body.pop("address")
    if isinstance(body.get("issuer"), str):
        body["issuer"] = "http://127.0.0.1:1"
    if isinstance(body.get("url"), str):
        body["url"] = "json://127.0.0.1:1"


def test_what_the_plan_fixed_is_in_the_document(place: Place) -> None:
    app: Any = place.client.app
    document = app.openapi()
    for call, promised in _FIXED_CALLS.items():
        method, path = call.split()
        operation = document["paths"][f"/api/v1{path}"][method.lower()]
        names = {f"?{item['name']}" for item in operation.get("parameters", [])}
        assert set(promised.split()) <= names | set(operation["responses"]), call
    schemas = document["components"]["schemas"]
    for schema, fields in _FIXED_FIELDS.items():
        assert set(fields.split()) <= set(schemas[schema]["properties"]), schema
    for (schema, field), values in _FIXED_VALUES.items():
        assert schemas[schema]["properties"][field]["enum"] == values.split(), (schema, field)
