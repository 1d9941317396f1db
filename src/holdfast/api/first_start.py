"""From settings to a context that can serve: tables, sealing key, first administrator."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.api.access.passwords import PasswordHasher, generate_password
from holdfast.api.context import ServiceContext, build_context
from holdfast.catalog import audit, sessions, users
from holdfast.catalog.audit import PlainActor
from holdfast.catalog.database import Database, make_state_folder, serialise
from holdfast.catalog.migrations import upgrade
from holdfast.catalog.sealing import Sealing
from holdfast.core.clock import Clock
from holdfast.core.errors import Category, HoldfastError
from holdfast.policy.access import Grant, Role
from holdfast.settings import ServiceSettings

ADMINISTRATOR = "admin"


@dataclass(kw_only=True, eq=False)
class NoSuchUser(HoldfastError):
    code = "no_such_user"
    category = Category.USAGE
    template = "there is no user {name}"
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPassword:
    """To be shown once."""

    name: str
    password: str

    def __repr__(self) -> str:
        return f"NewPassword({self.name})"


def open_service(settings: ServiceSettings, clock: Clock) -> ServiceContext:
    """Raises what the database, its migration and the sealing key raise."""
    make_state_folder(settings.state_root)
    database = Database.open(settings.database_url)
    upgrade(database)
    with database.writing() as session:
        serialise(session, "sealing")
        sealing = Sealing.open_or_create(settings.sealing_key_file, session, clock)
    return build_context(settings, database, sealing, clock)


def create_first_administrator(
    database: Database, passwords: PasswordHasher, clock: Clock
) -> NewPassword | None:
    """None when there are users already."""
    with database.reading() as session:
        if users.count_users(session):
            return None
    password = generate_password()
    hashed = passwords.hash(password)
    with database.writing() as session:
        serialise(session, "first administrator")
        if users.count_users(session):
            return None
        user = users.add_user(
            session,
            name=ADMINISTRATOR,
            display_name="Administrator",
            password_hash=hashed,
            grants=[Grant(role=Role.ADMINISTRATOR)],
            clock=clock,
            must_change_password=True,
        )
        audit.record(
            session,
            PlainActor(),
            "user.create",
            clock=clock,
            object_kind="user",
            object_id=user.id,
            details={"name": user.name, "reason": "first start"},
        )
    return NewPassword(name=ADMINISTRATOR, password=password)


def reset_password(
    database: Database, name: str, clock: Clock, *, second_factor_too: bool
) -> NewPassword:
    """For who is locked out, by whoever controls the host: a new password, enabled, no limits in
    the way, all sessions ended. Raises NoSuchUser."""
    password = generate_password()
    hashed = PasswordHasher().hash(password)
    with database.writing() as session:
        user = users.find_user_by_name(session, name)
        if user is None:
            raise NoSuchUser(name=name)
        user.password_hash, user.must_change_password, user.disabled = hashed, True, False
        if second_factor_too:
            user.totp_sealed, user.totp_confirmed = None, False
        sessions.end_sessions_of(session, user.id)
        sessions.forget_attempts(session, user.id, user.name)
        audit.record(
            session,
            PlainActor(kind="service", name="host"),
            "user.reset_password",
            clock=clock,
            object_kind="user",
            object_id=user.id,
            details={"name": user.name, "second_factor_removed": second_factor_too},
        )
        return NewPassword(name=user.name, password=password)
