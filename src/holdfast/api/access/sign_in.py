"""Signing in: password, second factor, and the brake. Enter at `SignIn`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pyotp.totp import TOTP
from pyotp.utils import strings_equal

from holdfast.api.access.passwords import PasswordHasher
from holdfast.catalog import audit, sessions, users
from holdfast.catalog.audit import PlainActor
from holdfast.catalog.database import Database
from holdfast.catalog.models import User
from holdfast.catalog.sealing import Sealing
from holdfast.core.clock import Clock
from holdfast.core.errors import HoldfastError

_PER_NAME, _PER_ADDRESS, _PER_CODE = 10, 30, 5
_STEP_S = 30


class WrongCredentials(HoldfastError):
    code = "wrong_credentials"
    template = "name or password is wrong"
    hint = "Check both; capital letters matter in the password"


class WrongCode(HoldfastError):
    code = "wrong_code"
    template = "the code is wrong or was used already"
    hint = "Enter the code that the app shows now; check the clock of the phone and of the service"


class SignInOver(HoldfastError):
    code = "sign_in_over"
    template = "this sign-in took too long or was tried too often"
    hint = "Begin again with name and password"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedInAs:
    secret: str
    """For the cookie."""
    state: Literal["signed_in", "second_factor_required", "password_change_required"]
    session_hash: str


class SignIn:
    """Thread-safe; blocking."""

    def __init__(
        self, database: Database, clock: Clock, sealing: Sealing, passwords: PasswordHasher
    ) -> None:
        self._database = database
        self._clock = clock
        self._sealing = sealing
        self._passwords = passwords

    def by_password(self, name: str, password: str, address: str, agent: str) -> SignedInAs:
        """Takes as long for a name that is not known. Raises WrongCredentials, TooManyAttempts,
        SignInBusy."""
        name = name.strip().lower()
        self._brake(name, address)
        with self._database.reading() as session:
            user = users.find_user_by_name(session, name)
        genuine = self._passwords.verify(password, user.password_hash if user else None)
        if user is None or not genuine or user.disabled:
            self._denied("auth.login", name, address)
            raise WrongCredentials
        return self._begin(user.id, name, address, agent)

    def by_code(self, id_hash: str, code: str, address: str, agent: str) -> SignedInAs:
        """The second factor of a sign-in that began with a password: a new session takes the place
        of the half one. Raises WrongCode, SignInOver, TooManyAttempts."""
        now = self._clock.now()
        with self._database.reading() as session:
            found = sessions.find_session(session, id_hash, now)
            if found is None or found[0].complete:
                raise SignInOver
            user_id, name = found[1].id, found[1].name
        with self._database.writing() as session:
            wait = sessions.begin_attempt(session, f"code:{user_id}", _PER_CODE, now)
            if wait is not None:
                sessions.end_session(session, id_hash)
        sessions.refuse_after(wait)
        with self._database.writing() as session:
            user = users.find_user(session, user_id)
            signed_in: SignedInAs | None = None
            if take_code(user, self._sealing, code, self._clock):
                sessions.forgive(session, f"code:{user_id}")
                sessions.end_session(session, id_hash)
                signed_in = self._new_session(session, user, address, agent)
        if signed_in is None:
            self._denied("auth.second_factor", name, address)
            raise WrongCode
        return signed_in

    def _brake(self, name: str, address: str) -> None:
        now = self._clock.now()
        with self._database.writing() as session:
            user = users.find_user_by_name(session, name)
            known = user is not None and sessions.is_known_address(session, user.id, address)
            waits = [sessions.begin_attempt(session, f"address:{address}", _PER_ADDRESS, now)]
            pair = f"name:{name[:200]}@{address}" if known else f"name:{name[:200]}"
            waits.append(sessions.begin_attempt(session, pair, _PER_NAME, now))
        sessions.refuse_after(max((wait for wait in waits if wait is not None), default=None))

    def _begin(self, user_id: str, name: str, address: str, agent: str) -> SignedInAs:
        with self._database.writing() as session:
            user = users.find_user(session, user_id)
            sessions.forgive(session, f"name:{name[:200]}")
            sessions.forgive(session, f"name:{name[:200]}@{address}")
            sessions.forgive(session, f"address:{address}", one=True)
            if user.totp_confirmed:
                secret = sessions.begin_session(
                    session, user, complete=False, address=address, agent=agent, clock=self._clock
                )
                return SignedInAs(
                    secret=secret,
                    state="second_factor_required",
                    session_hash=sessions.hash_secret(secret),
                )
            return self._new_session(session, user, address, agent)

    def begin_external(self, user_id: str, address: str, agent: str) -> SignedInAs:
        """For who proved themselves elsewhere."""
        with self._database.writing() as session:
            user = users.find_user(session, user_id)
            return self._new_session(session, user, address, agent)

    def _new_session(
        self, session: sessions.Session, user: User, address: str, agent: str
    ) -> SignedInAs:
        secret = sessions.begin_session(
            session, user, complete=True, address=address, agent=agent, clock=self._clock
        )
        user.last_login_at = self._clock.now()
        actor = PlainActor(kind="user", id=user.id, name=user.name, address=address)
        audit.record(
            session, actor, "auth.login", clock=self._clock, object_kind="user", object_id=user.id
        )
        return SignedInAs(
            secret=secret,
            state="password_change_required" if user.must_change_password else "signed_in",
            session_hash=sessions.hash_secret(secret),
        )

    def _denied(self, action: str, name: str, address: str) -> None:
        actor = PlainActor(kind="anonymous", name=name, address=address)
        with self._database.writing() as session:
            audit.record(session, actor, action, clock=self._clock, outcome="denied")


def take_code(user: User, sealing: Sealing, code: str, clock: Clock) -> bool:
    """Whether the code is right now and was not used before; then it is used."""
    if user.totp_sealed is None:
        return False
    secret = sealing.unseal("user_account", user.id, "totp_sealed", user.totp_sealed).decode()
    totp = TOTP(secret)
    step_now = int(clock.now().timestamp()) // _STEP_S
    for step in (step_now - 1, step_now, step_now + 1):
        if step > user.totp_last_step and strings_equal(totp.generate_otp(step), code):
            user.totp_last_step = step
            return True
    return False
