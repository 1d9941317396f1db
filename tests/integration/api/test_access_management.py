"""Users, roles and tokens: nobody hands on more than they have, one administrator stays, a token
never outgrows its owner, and everything is in the audit trail."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import text, update

from holdfast.catalog import users
from holdfast.catalog.models import AuditEntry
from holdfast.policy.access import Permission, Role
from tests.support.service import (
    ORIGIN,
    TestService,
    everywhere,
    problem_of,
    tagged,
)

VIEWER = {"role": "viewer"}


def test_a_user_is_made_with_a_password_shown_once(service: TestService) -> None:
    root = service.administrator()
    made = root.post("/api/v1/users", json={"name": "bert", "grants": [VIEWER]})
    assert made.status_code == 201
    found = made.json()
    login = {"name": "bert", "password": found["password"]}
    answer = service.anonymous().post("/api/v1/auth/login", json=login)
    assert answer.json()["state"] == "password_change_required"
    assert "password" not in root.get(f"/api/v1/users/{found['id']}").json()
    again = root.post("/api/v1/users", json={"name": "bert", "grants": [VIEWER]})
    assert problem_of(again)["code"] == "name_taken"


def test_the_last_administrator_stays(service: TestService) -> None:
    root = service.administrator()
    me = root.get("/api/v1/auth/session").json()["user"]["id"]
    for change in ({"disabled": True}, {"grants": [VIEWER]}, {"grants": []}):
        answer = root.patch(f"/api/v1/users/{me}", json=change)
        assert problem_of(answer)["code"] == "last_administrator", change
    external = service.add_user("sso", everywhere(Role.ADMINISTRATOR))
    assert root.patch(f"/api/v1/users/{me}", json={"disabled": True}).status_code == 409
    second = service.browser(external)
    assert second.delete(f"/api/v1/users/{me}").status_code == 409
    service.administrator("root2")
    assert second.delete(f"/api/v1/users/{me}").status_code == 204
    assert root.get("/api/v1/roles").status_code == 401


def test_disabling_ends_sessions_and_tokens_at_once(service: TestService) -> None:
    root = service.administrator()
    anna = service.add_user("anna", everywhere(Role.OPERATOR))
    browser = service.browser(anna)
    machine = service.machine(service.token(anna, everywhere(Role.VIEWER)))
    assert machine.get("/api/v1/roles").status_code == 200
    assert root.patch(f"/api/v1/users/{anna}", json={"disabled": True}).status_code == 200
    assert browser.get("/api/v1/roles").status_code == 401
    assert machine.get("/api/v1/roles").status_code == 401


def test_a_token_is_shown_once_and_hands_on_no_more_than_its_maker_has(
    service: TestService,
) -> None:
    anna = service.browser(service.add_user("anna", everywhere(Role.OPERATOR)))
    body: dict[str, Any] = {"name": "ci", "grants": [{"role": "administrator"}]}
    refused = anna.post("/api/v1/tokens", json=body)
    assert problem_of(refused)["code"] == "grant_exceeds_own"
    scoped = service.browser(service.add_user("blue", tagged(Role.VIEWER)))
    assert scoped.post("/api/v1/tokens", json={"name": "a", "grants": [VIEWER]}).status_code == 403
    within = {"role": "viewer", "scope_kind": "tag", "scope_value": "blue"}
    assert scoped.post("/api/v1/tokens", json={"name": "a", "grants": [within]}).status_code == 201
    made = anna.post("/api/v1/tokens", json={"name": "ci", "grants": [VIEWER]}).json()
    assert made["token"].startswith(f"hf_{made['id']}_")
    machine = service.machine(made["token"])
    assert machine.get("/api/v1/auth/session").json()["permissions"] == ["logs.read", "view"]
    assert "token" not in anna.get("/api/v1/tokens").json()["items"][0]
    assert scoped.delete(f"/api/v1/tokens/{made['id']}").status_code == 404, "not theirs"
    assert anna.delete(f"/api/v1/tokens/{made['id']}").status_code == 204
    assert machine.get("/api/v1/roles").status_code == 401


def test_a_token_shrinks_with_its_owner(service: TestService) -> None:
    anna = service.add_user("anna", everywhere(Role.ADMINISTRATOR))
    machine = service.machine(service.token(anna, everywhere(Role.ADMINISTRATOR)))
    assert machine.get("/api/v1/users").status_code == 200
    with service.context.database.writing() as session:
        user = users.find_user(session, anna)
        users.set_grants(session, user, [everywhere(Role.VIEWER)], service.clock)
    assert machine.get("/api/v1/users").status_code == 403
    assert machine.get("/api/v1/auth/session").json()["permissions"] == ["logs.read", "view"]


def test_a_wrong_secret_or_a_made_up_token_is_nobody(service: TestService) -> None:
    anna = service.add_user("anna", everywhere(Role.VIEWER))
    token = service.token(anna, everywhere(Role.VIEWER))
    for wrong in (token[:-1], token + "x", "hf_", "hf_x_y", "x", token.replace("hf_", "hF_")):
        assert service.machine(wrong).get("/api/v1/roles").status_code == 401, wrong


def test_every_change_and_every_refusal_is_in_the_trail(service: TestService) -> None:
    root = service.administrator()
    anna = service.add_user("anna", everywhere(Role.VIEWER))
    browser = service.browser(anna)
    assert browser.get("/api/v1/users").status_code == 403
    wrong = {"name": "an\nna\x1b[2J", "password": "x"}
    assert service.anonymous().post("/api/v1/auth/login", json=wrong).status_code == 401
    root.patch(f"/api/v1/users/{anna}", json={"display_name": "Anna"})
    found = root.get("/api/v1/audit").json()["items"]
    assert [(item["action"], item["outcome"], item["actor_name"]) for item in found] == [
        ("user.update", "done", "root"),
        ("auth.login", "denied", "an\ufffdna\ufffd[2j"),
        ("list_users", "denied", "anna"),
    ]
    denied = root.get("/api/v1/audit", params={"outcome": "denied", "action": "auth"}).json()
    assert denied["total"] == 1


def test_a_change_in_the_trail_breaks_the_chain(service: TestService) -> None:
    root = service.administrator()
    for number in range(5):
        root.post("/api/v1/users", json={"name": f"user{number}", "grants": []})
    sound = root.get("/api/v1/audit/verify").json()
    assert sound["intact"]
    assert sound["entries"] == 5
    with service.context.database.writing() as session:
        session.execute(update(AuditEntry).where(AuditEntry.seq == 3).values(actor_name="somebody"))
    broken = root.get("/api/v1/audit/verify").json()
    assert (broken["intact"], broken["first_broken_seq"]) == (False, 3)
    with service.context.database.writing() as session:
        session.execute(update(AuditEntry).where(AuditEntry.seq == 3).values(actor_name="root"))
    assert root.get("/api/v1/audit/verify").json()["intact"]
    with service.context.database.writing() as session:
        session.execute(text("DELETE FROM audit_entry WHERE seq = 2"))
    assert root.get("/api/v1/audit/verify").json()["first_broken_seq"] == 3


def test_the_trail_is_exported_with_its_chain(service: TestService) -> None:
    root = service.administrator()
    root.post("/api/v1/users", json={"name": "anna", "grants": []})
    lines = root.get("/api/v1/audit/export").text.splitlines()
    entries = [json.loads(line) for line in lines]
    assert [entry["action"] for entry in entries] == ["user.create", "audit.export"]
    assert entries[1]["previous_hash"] == entries[0]["hash"]


def test_an_operator_of_some_vms_cannot_take_over_an_administrator(service: TestService) -> None:
    root = service.administrator()
    me = root.get("/api/v1/auth/session").json()["user"]["id"]
    narrow = service.browser(service.add_user("anna", tagged(Role.ADMINISTRATOR)))
    assert narrow.patch(f"/api/v1/users/{me}", json={"reset_password": True}).status_code == 403
    assert (
        Permission.ACCESS_MANAGE.value
        not in (narrow.get("/api/v1/auth/session").json()["permissions"])
    )


def test_requests_from_other_sites_are_refused(service: TestService) -> None:
    user_id = service.add_user("anna", everywhere(Role.ADMINISTRATOR))
    client = service.browser(user_id)
    body = {"name": "ci", "grants": [VIEWER]}
    for origin in ("https://evil.test", "null", ORIGIN + ":444", "http://holdfast.test", ""):
        answer = client.post("/api/v1/tokens", json=body, headers={"Origin": origin})
        assert problem_of(answer)["code"] == "cross_site_request", origin
    del client.headers["Origin"]
    assert client.post("/api/v1/tokens", json=body).status_code == 403, "says nothing"
    for site in ("cross-site", "same-site"):
        answer = client.post("/api/v1/tokens", json=body, headers={"Sec-Fetch-Site": site})
        assert answer.status_code == 403, site
    same = {"Sec-Fetch-Site": "same-origin"}
    assert client.post("/api/v1/tokens", json=body, headers=same).status_code == 201
    assert client.get("/api/v1/tokens", headers={"Origin": "https://evil.test"}).status_code == 200
    machine = service.machine(service.token(user_id, everywhere(Role.ADMINISTRATOR)))
    assert machine.post("/api/v1/tokens", json=body).status_code == 201
    foreign = service.anonymous(Origin="https://evil.test")
    login = {"name": "anna", "password": "x"}
    assert foreign.post("/api/v1/auth/login", json=login).status_code == 403, "sign-in as another"
