"""Every route and everybody. What the routes say of themselves is compared with the table of
`tests.support.route_table`: a route that is not in it fails the test, whoever wrote it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import pytest
from fastapi import APIRouter

from holdfast.api import app as application
from holdfast.api import routes as nouns
from holdfast.api.access import public, requires
from holdfast.api.access.requirement import Public, Requirement
from holdfast.api.access.rules import OpenByOmission
from holdfast.policy.access import Permission, Role
from tests.support.route_table import EXPECTED, PUBLIC, SIGNED_IN
from tests.support.service import (
    TestService,
    everywhere,
    open_test_service,
    problem_of,
    tagged,
)

# Written out once more, not taken from the code: what each role may.
_VIEWER = {"view", "logs.read"}
_ROLES = {
    "viewer": _VIEWER,
    "operator": _VIEWER | {"backup.run", "repository.maintain", "inventory.manage"},
    "restore-operator": _VIEWER | {"files.read", "restore.run"},
    "administrator": {permission.value for permission in Permission},
}
_FOR_SOME_VMS = {
    "view",
    "backup.run",
    "backup.delete",
    "files.read",
    "restore.run",
    "logs.read",
}
_BUSY = {"/api/v1/auth/logout", "/api/v1/auth/oidc/start", "/api/v1/auth/oidc/callback"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Generator[TestService]:
    with open_test_service(tmp_path_factory.mktemp("routes")) as opened:
        yield opened


def described(service: TestService) -> dict[str, str]:
    found: dict[str, str] = {}
    for route in service.routes:
        for method in route.methods:
            rule = route.rule
            if isinstance(rule, Requirement):
                need = rule.permission.value + ("!" if rule.everywhere else "")
            else:
                need = PUBLIC if isinstance(rule, Public) else SIGNED_IN
            found[f"{method} {route.path}"] = need
    return found


def test_every_route_requires_what_the_table_says(service: TestService) -> None:
    assert described(service) == EXPECTED


def may(role: str, need: str, *, scoped: bool) -> bool:
    if need in {PUBLIC, SIGNED_IN}:
        return True
    permission, everything = need.rstrip("!"), need.endswith("!")
    if permission not in _ROLES[role]:
        return False
    return not scoped or (permission in _FOR_SOME_VMS and not everything)


@pytest.mark.parametrize("by", ["session", "token"])
@pytest.mark.parametrize("scoped", [False, True], ids=["everywhere", "tagged"])
@pytest.mark.parametrize("role", sorted(_ROLES))
def test_each_role_gets_through_to_what_it_may_and_no_further(
    service: TestService, role: str, scoped: bool, by: str
) -> None:
    grant = (tagged if scoped else everywhere)(Role(role))
    user_id = service.add_user(f"{role}-{scoped}-{by}", grant)
    client = (
        service.browser(user_id)
        if by == "session"
        else service.machine(service.token(user_id, grant))
    )
    for call, need in EXPECTED.items():
        method, path = call.split(" ")
        if path in _BUSY:
            continue
        answer = client.request(method, path.replace("{", "0").replace("}", "0"))
        if may(role, need, scoped=scoped):
            refused = answer.status_code in {401, 403} and answer.json()["code"] in {
                "not_signed_in",
                "not_allowed",
                "cross_site_request",
                "password_change_required",
            }
            assert not refused or need == PUBLIC, (call, answer.text)
            assert answer.status_code < 500 or answer.status_code == 503, (call, answer.text)
        else:
            assert problem_of(answer)["code"] == "not_allowed", call


def test_nobody_gets_through_to_what_is_not_public(service: TestService) -> None:
    client = service.anonymous()
    expired = service.anonymous(Cookie="__Host-holdfast=made-up", Origin="https://holdfast.test")
    wrong = service.machine("hf_01a217ab-b6af-7dc5-8fd1-eca12a923610_made-up")
    for call, need in EXPECTED.items():
        method, path = call.split(" ")
        if need == PUBLIC:
            continue
        for one in (client, expired, wrong):
            answer = one.request(method, path.replace("{", "0").replace("}", "0"))
            assert answer.status_code == 401, call
            assert problem_of(answer)["code"] == "not_signed_in"
            assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_route_without_a_rule_stops_the_start(
    service: TestService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def forgotten() -> None: ...

    open_router = APIRouter(tags=["x"])
    open_router.get("/x")(forgotten)
    monkeypatch.setattr(application, "ROUTERS", (*nouns.ROUTERS, open_router))
    with pytest.raises(OpenByOmission, match="0 rules"):
        application.create_app(service.context)
    both = APIRouter(tags=["x"], dependencies=[public()])
    both.get("/x", dependencies=[requires(Permission.VIEW)])(forgotten)
    monkeypatch.setattr(application, "ROUTERS", (*nouns.ROUTERS, both))
    with pytest.raises(OpenByOmission, match="2 rules"):
        application.create_app(service.context)


def test_the_document_says_what_each_call_needs(service: TestService) -> None:
    document = service.app.openapi()
    found: dict[str, str] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            need = operation.get("x-permission", SIGNED_IN if operation["security"] else PUBLIC)
            found[f"{method.upper()} {path}"] = need + (
                "!" if operation.get("x-permission-everywhere") else ""
            )
            assert operation["responses"]["422"]["content"].keys() == {"application/problem+json"}
    assert found == EXPECTED


def test_the_document_has_what_live_events_carry(service: TestService) -> None:
    document = service.app.openapi()
    events = document["x-socket-io"]["events"]
    nouns = ("backup", "machine_group", "mount", "platform", "repository", "token", "user", "vm")
    changed = {f"{noun}_changed" for noun in nouns}
    assert set(events) == {"backup_progress", "run_progress"} | changed
    payload = document["components"]["schemas"]["BackupProgressUpdate"]
    # As the contract lists them.
    promised = (
        "id backup_id vm_id status phase progress_percent bytes_transferred total_bytes "
        "throughput_bps eta_seconds disks error_message at"
    )
    assert set(promised.split()) <= set(payload["properties"])
    for reference in events.values():
        assert reference["$ref"].rpartition("/")[2] in document["components"]["schemas"]
