"""Single sign-on against a real provider that speaks HTTP in this process."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import RSAKey
from starlette.testclient import TestClient

from holdfast.policy.access import Role
from tests.support.oidc_provider import CLIENT_ID, CLIENT_SECRET, Provider, run_provider
from tests.support.service import ORIGIN, TestService, everywhere, problem_of

ROLES = {"backup-admins": "operator", "helpdesk": "restore-operator"}


@pytest.fixture
def provider() -> Generator[Provider]:
    with run_provider() as running:
        yield running


@pytest.fixture
def root(service: TestService, provider: Provider) -> TestClient:
    client = service.administrator()
    body = {
        "enabled": True,
        "name": "Company",
        "issuer": provider.issuer,
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "role_map": ROLES,
    }
    assert client.put("/api/v1/auth/oidc", json=body).status_code == 200
    return client


def begin(client: TestClient, provider: Provider, path: str = "/backups") -> str:
    start = client.get("/api/v1/auth/oidc/start", params={"next": path})
    assert start.status_code == 303
    assert start.headers["location"].startswith(f"{provider.issuer}/authorize?")
    return provider.sign_in(start.headers["location"])


def test_a_user_comes_in_with_the_roles_of_the_claim(
    service: TestService, root: TestClient, provider: Provider
) -> None:
    service.add_user("anna", everywhere(Role.ADMINISTRATOR))
    client = service.anonymous(Origin=ORIGIN)
    answer = client.get(begin(client, provider))
    assert (answer.status_code, answer.headers["location"]) == (303, "/backups")
    assert "__Host-holdfast=" in answer.headers["set-cookie"]
    user = client.get("/api/v1/auth/session").json()["user"]
    assert user["name"].startswith("anna-"), "never the local account of the same name"
    assert user["external"]
    assert [grant["role"] for grant in user["grants"]] == ["operator"]
    provider.claims = {"groups": "helpdesk"}
    again = service.anonymous(Origin=ORIGIN)
    assert again.get(begin(again, provider, "//evil.test")).headers["location"] == "/"
    found = again.get("/api/v1/auth/session").json()["user"]
    assert found["id"] == user["id"]
    assert [grant["role"] for grant in found["grants"]] == ["restore-operator"]
    assert service.anonymous().get("/api/v1/auth/methods").json()["oidc_name"] == "Company"
    disabled = root.patch(f"/api/v1/users/{user['id']}", json={"disabled": True})
    assert disabled.status_code == 200
    assert problem_of(again.get(begin(again, provider)))["code"] == "oidc_refused"


@pytest.mark.parametrize(
    "claims",
    [
        {"groups": ["others"]},
        {"iss": "http://127.0.0.1:1"},
        {"aud": "another"},
        {"aud": ["another", CLIENT_ID], "azp": "another"},
        {"nonce": "replayed"},
        {"exp": 1},
        {"iat": 9_999_999_999},
        {"sub": ""},
    ],
    ids=["role", "issuer", "audience", "azp", "nonce", "expired", "future", "subject"],
)
def test_a_token_that_does_not_fit_is_refused(
    service: TestService, root: TestClient, provider: Provider, claims: dict[str, Any]
) -> None:
    provider.claims = claims
    client = service.anonymous()
    answer = client.get(begin(client, provider))
    assert problem_of(answer)["code"] == "oidc_refused"
    assert "set-cookie" not in answer.headers
    denied = root.get("/api/v1/audit", params={"outcome": "denied"}).json()
    assert denied["total"] == 1


def test_forged_foreign_late_and_repeated_answers_are_refused(
    service: TestService, root: TestClient, provider: Provider
) -> None:
    client = service.anonymous()
    provider.signing_key = RSAKey.generate_key(2048, {"kid": "k1"})
    assert problem_of(client.get(begin(client, provider)))["code"] == "oidc_refused"
    provider.signing_key = None
    back = begin(client, provider)
    assert problem_of(service.anonymous().get(back))["code"] == "oidc_refused", "other browser"
    assert problem_of(client.get(back.replace("state=", "state=x")))["code"] == "oidc_refused"
    assert client.get(back).status_code == 303
    repeated = problem_of(client.get(back))
    assert repeated["code"] == "oidc_refused", "its cookie is gone"
    late = begin(client, provider)
    service.clock.ahead = timedelta(minutes=11)
    assert problem_of(client.get(late))["code"] == "oidc_refused"


def test_the_secret_is_write_only_and_stays_with_its_issuer(
    service: TestService, root: TestClient, provider: Provider
) -> None:
    assert CLIENT_SECRET not in root.get("/api/v1/auth/oidc").text
    body = {"enabled": True, "issuer": "https://evil.test", "client_id": "x"}
    refused = problem_of(root.put("/api/v1/auth/oidc", json=body))
    assert refused["params"]["what"] == "client_secret"
    for issuer in ("http://id.test", "https://u:p@id.test", "https://id.test/?x=1", "file:///x"):
        changed = {**body, "issuer": issuer, "client_secret": "y"}
        assert root.put("/api/v1/auth/oidc", json=changed).status_code == 422, issuer
    kept = {**body, "issuer": provider.issuer, "name": "Other"}
    assert root.put("/api/v1/auth/oidc", json=kept).json()["has_secret"]


def test_off_and_away_are_told_apart(
    service: TestService, root: TestClient, provider: Provider
) -> None:
    body = {
        "enabled": True,
        "issuer": "http://127.0.0.1:1",
        "client_id": "x",
        "client_secret": "y",
    }
    root.put("/api/v1/auth/oidc", json=body)
    away = service.anonymous().get("/api/v1/auth/oidc/start")
    assert (away.status_code, problem_of(away)["code"]) == (503, "oidc_provider_failed")
    root.put("/api/v1/auth/oidc", json={**body, "enabled": False})
    assert problem_of(service.anonymous().get("/api/v1/auth/oidc/start"))["code"] == "oidc_off"
