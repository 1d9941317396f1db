"""Passwords: Argon2id with 64 MiB and bounded parallelism, so that sign-ins cannot take the memory
of the backups. Enter at `PasswordHasher`."""

from __future__ import annotations

import secrets
import threading

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from holdfast.core.errors import HoldfastError, InvalidInput, Retry

_AT_ONCE = 2
_WAIT_S = 20.0
MINIMUM_LENGTH = 12
_ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


class SignInBusy(HoldfastError):
    code = "sign_in_busy"
    retry = Retry.LATER
    template = "too many sign-ins at once"
    hint = "Try again in a few seconds"


class PasswordHasher:
    """Thread-safe."""

    def __init__(self, *, memory_kib: int = 65536) -> None:
        hasher = Argon2Hasher(memory_cost=memory_kib, time_cost=3, parallelism=1)
        self._hash = PasswordHash((hasher,))
        self._places = threading.BoundedSemaphore(_AT_ONCE)
        self._nobody = self._hash.hash(secrets.token_urlsafe(16))

    def hash(self, password: str) -> str:
        with self._place():
            return self._hash.hash(password)

    def verify(self, password: str, stored: str | None) -> bool:
        """False for a user without a password, after as much work as for one with."""
        with self._place():
            genuine = self._hash.verify(password, stored or self._nobody)
        return genuine and stored is not None

    def _place(self) -> _Place:
        return _Place(self._places)


class _Place:
    def __init__(self, places: threading.BoundedSemaphore) -> None:
        self._places = places

    def __enter__(self) -> None:
        if not self._places.acquire(timeout=_WAIT_S):
            raise SignInBusy

    def __exit__(self, *_: object) -> None:
        self._places.release()


def generate_password() -> str:
    """24 letters and digits without look-alikes, about 139 bits."""
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(24))
    return "-".join(letters[at : at + 6] for at in range(0, 24, 6))


def require_acceptable(password: str, name: str) -> None:
    """Length is what counts; what is obvious is refused. Raises InvalidInput."""
    if len(password) < MINIMUM_LENGTH:
        problem = f"needs at least {MINIMUM_LENGTH} characters"
        raise InvalidInput(what="new_password", problem=problem)
    if len(set(password)) < 5 or name.lower() in password.lower():
        problem = "is too easy to guess: it repeats itself or holds the user's name"
        raise InvalidInput(what="new_password", problem=problem)
