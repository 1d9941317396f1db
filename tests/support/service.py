"""A whole service in the test's process: real database, real middleware, every route, no port.

Enter at `open_test_service`. Callers are made straight in the catalogue, since a password costs a
tenth of a second; what is about passwords signs in with one.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.testclient import TestClient

from holdfast.api.access.passwords import PasswordHasher
from holdfast.api.access.rules import RuledRoute
from holdfast.api.app import create_app
from holdfast.api.context import ServiceContext
from holdfast.api.first_start import open_service
from holdfast.catalog import sessions, tokens, users
from holdfast.core.clock import SystemClock
from holdfast.policy.access import Grant, Role, ScopeKind
from holdfast.settings import ServiceSettings

ORIGIN = "https://holdfast.test"
PASSWORD = "correct horse battery staple"


class MovableClock:
    """The machine's clock, with a distance that a test changes."""

    def __init__(self) -> None:
        self._real = SystemClock()
        self.ahead = timedelta()

    def now(self) -> datetime:
        return self._real.now() + self.ahead

    def monotonic_s(self) -> float:
        return self._real.monotonic_s() + self.ahead.total_seconds()


@dataclass(frozen=True, slots=True, kw_only=True)
class TestService:
    __test__ = False
    app: FastAPI
    context: ServiceContext
    clock: MovableClock

    @property
    def routes(self) -> Sequence[RuledRoute]:
        return self.app.state.routes

    def anonymous(self, **headers: str) -> TestClient:
        return TestClient(
            self.app,
            base_url=ORIGIN,
            headers=headers,
            raise_server_exceptions=False,
            follow_redirects=False,
            client=("192.0.2.7", 4711),
        )

    def add_user(self, name: str, *grants: Grant, password: str | None = None) -> str:
        hashed = self.context.passwords.hash(password) if password else None
        with self.context.database.writing() as session:
            return users.add_user(
                session,
                name=name,
                display_name="",
                password_hash=hashed,
                grants=grants,
                clock=self.clock,
            ).id

    def browser(self, user_id: str) -> TestClient:
        """Signed in by a cookie, sending what a browser sends from the dashboard."""
        client = self.anonymous(Origin=ORIGIN)
        with self.context.database.writing() as session:
            secret = sessions.begin_session(
                session,
                users.find_user(session, user_id),
                complete=True,
                address="192.0.2.7",
                agent="test",
                clock=self.clock,
            )
        client.cookies.set("__Host-holdfast", secret, domain="holdfast.test")
        return client

    def token(self, user_id: str, *grants: Grant) -> str:
        with self.context.database.writing() as session:
            owner = users.find_user(session, user_id)
            return tokens.add_token(
                session, owner, name="test", grants=grants, expires_at=None, clock=self.clock
            )[1]

    def machine(self, token: str) -> TestClient:
        return self.anonymous(Authorization=f"Bearer {token}")

    def administrator(self, name: str = "root") -> TestClient:
        return self.browser(self.add_user(name, everywhere(Role.ADMINISTRATOR), password=PASSWORD))


def everywhere(role: Role) -> Grant:
    return Grant(role=role)


def tagged(role: Role, tag: str = "blue") -> Grant:
    return Grant(role=role, scope=ScopeKind.TAG, value=tag)


@contextmanager
def open_test_service(
    folder: Path,
    *,
    database_url: str | None = None,
    dashboard: Path | None = None,
    slow_passwords: bool = False,
) -> Generator[TestService]:
    clock = MovableClock()
    settings = ServiceSettings(
        state_root=folder / "state",
        database_url=database_url or f"sqlite:///{folder / 'state' / 'holdfast.db'}",
        sealing_key_file=folder / "state" / "sealing.key",
        dashboard_root=dashboard,
        cache_root=folder / "cache",
        scratch_root=folder / "scratch",
    )
    context = open_service(settings, clock)
    if not slow_passwords:
        context = replace(context, passwords=PasswordHasher(memory_kib=256))
    try:
        yield TestService(app=create_app(context), context=context, clock=clock)
    finally:
        context.mounts.close()
        context.database.close()


def problem_of(answer: Any) -> dict[str, Any]:
    """The problem document of an answer that has to be one."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    found = answer.json()
    assert found["status"] == answer.status_code
    assert found["detail"]
    assert found["request_id"] == answer.headers["x-request-id"]
    return found
