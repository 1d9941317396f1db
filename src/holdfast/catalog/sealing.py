"""Secrets at rest. A secret is sealed for one place (table, row, column): a sealed value that was
moved elsewhere, changed, or sealed with another key does not open.

Envelope, version 1: `HFS1` · key id (8 bytes) · nonce (12) · data key sealed with the key (48) ·
nonce (12) · secret sealed with the data key. Both layers are AES-256-GCM; their associated data is
version, key id and place. Rotation (`reseal`) opens and seals only the data keys again.

The key file has one key a line, `<id> <key>` in hexadecimal, the first of which seals; it is made
with mode 0600 at the first start. Without it no secret in the database can be read by anyone.
Enter at `Sealing.open`. Thread-safe.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Table, delete, select, update
from sqlalchemy.orm import Session

from holdfast.catalog.models import (
    IdempotentRequest,
    NotificationTarget,
    Platform,
    Repository,
    Setting,
    User,
)
from holdfast.core.clock import Clock
from holdfast.core.errors import HoldfastError

_MAGIC = b"HFS1"
_ID, _KEY, _NONCE, _TAG = 8, 32, 12, 16
_WRAPPED = _NONCE + _KEY + _TAG
_HEAD = len(_MAGIC) + _ID
_PROOF_KEY = "sealing.proof"
_PROOF = b"holdfast"


@dataclass(kw_only=True, eq=False)
class SealingKeyMissing(HoldfastError):
    code = "sealing_key_missing"
    template = "the key file {path} is missing, but the database holds secrets sealed with it"
    hint = (
        "Put the file back from its safe copy. If it is lost for good: `holdfast sealing forget`, "
        "then enter the secrets of platforms and repositories again"
    )
    path: str


@dataclass(kw_only=True, eq=False)
class SealingKeyUnusable(HoldfastError):
    code = "sealing_key_unusable"
    template = "the key file {path} cannot be used: {problem}"
    hint = "It has one `<id> <key>` a line and belongs to the service's user alone (mode 0600)"
    path: str
    problem: str


@dataclass(kw_only=True, eq=False)
class SealingKeyWrong(HoldfastError):
    code = "sealing_key_wrong"
    template = (
        "the key file {path} is not the one that the secrets in this database were sealed with"
    )
    hint = "Point HOLDFAST_SEALING_KEY_FILE at the right file; nothing was changed"
    path: str


@dataclass(kw_only=True, eq=False)
class SealedSecretUnreadable(HoldfastError):
    code = "sealed_secret_unreadable"
    template = "the stored secret of {table} {row_id} does not open: {problem}"
    hint = "Enter it again; if it was not you who changed the database, look at the audit log"
    table: str
    row_id: str
    problem: str


@dataclass(frozen=True, slots=True)
class _Key:
    id: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"_Key({self.id.hex()})"

    @classmethod
    def new(cls) -> _Key:
        return cls(os.urandom(_ID), os.urandom(_KEY))

    @property
    def line(self) -> str:
        return f"{self.id.hex()} {self.key.hex()}\n"


class Sealing:
    """Seals and opens secrets with the keys of one file."""

    def __init__(self, path: Path, keys: Sequence[_Key]) -> None:
        self.path = path
        self._keys = list(keys)

    @classmethod
    def open(cls, path: Path) -> Sealing:
        """The keys of the file. Raises SealingKeyUnusable."""
        return cls(path, _read(path))

    @classmethod
    def open_or_create(cls, path: Path, session: Session, clock: Clock) -> Sealing:
        """At the start of the service, inside a writing transaction: makes the file when the
        database has never seen one, else proves that it is the right one. Raises SealingKeyMissing,
        SealingKeyUnusable, SealingKeyWrong."""
        row = session.get(Setting, _PROOF_KEY)
        if row is None:
            sealing = cls.open(path) if path.exists() else cls._create(path)
            sealing.prove(session, clock)
            return sealing
        if not path.exists():
            raise SealingKeyMissing(path=str(path))
        sealing = cls.open(path)
        try:
            sealing.unseal("setting", _PROOF_KEY, "value", bytes.fromhex(row.value["sealed"]))
        except SealedSecretUnreadable as error:
            raise SealingKeyWrong(path=str(path)) from error
        return sealing

    @classmethod
    def _create(cls, path: Path) -> Sealing:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = [_Key.new()]
        _write(path, keys)
        return cls(path, keys)

    @property
    def key_id(self) -> str:
        """Of the key that seals now."""
        return self._keys[0].id.hex()

    def seal(self, table: str, row_id: str, column: str, secret: bytes) -> bytes:
        key, data_key = self._keys[0], os.urandom(_KEY)
        head = _MAGIC + key.id
        place = _place(head, table, row_id, column)
        return head + _encrypt(key.key, data_key, place) + _encrypt(data_key, secret, place)

    def unseal(self, table: str, row_id: str, column: str, sealed: bytes) -> bytes:
        """Raises SealedSecretUnreadable."""
        head, data_key = self._data_key(table, row_id, column, sealed)
        place = _place(head, table, row_id, column)
        return self._decrypt(data_key, sealed[_HEAD + _WRAPPED :], place, table, row_id)

    def reseal(self, table: str, row_id: str, column: str, sealed: bytes) -> bytes:
        """The same secret under the present key."""
        secret = self.unseal(table, row_id, column, sealed)
        return self.seal(table, row_id, column, secret)

    def prove(self, session: Session, clock: Clock) -> None:
        """Remember in the database which keys it needs."""
        sealed = self.seal("setting", _PROOF_KEY, "value", _PROOF)
        value = {"sealed": sealed.hex()}
        session.merge(Setting(key=_PROOF_KEY, value=value, changed_at=clock.now()))

    def add_key(self) -> None:
        """A new key seals from now on; older ones still open. The file is replaced at once."""
        keys = [_Key.new(), *self._keys]
        _write(self.path, keys)
        self._keys = keys

    def drop_old_keys(self) -> None:
        """Only after everything was sealed again and committed."""
        keys = self._keys[:1]
        _write(self.path, keys)
        self._keys = keys

    def _data_key(self, table: str, row_id: str, column: str, sealed: bytes) -> tuple[bytes, bytes]:
        if len(sealed) < _HEAD + _WRAPPED + _NONCE + _TAG or not sealed.startswith(_MAGIC):
            raise SealedSecretUnreadable(table=table, row_id=row_id, problem="it is no envelope")
        head = sealed[:_HEAD]
        found = next((key for key in self._keys if key.id == head[len(_MAGIC) :]), None)
        if found is None:
            problem = f"it was sealed with key {head[len(_MAGIC) :].hex()}, which is not here"
            raise SealedSecretUnreadable(table=table, row_id=row_id, problem=problem)
        place = _place(head, table, row_id, column)
        wrapped = sealed[_HEAD : _HEAD + _WRAPPED]
        return head, self._decrypt(found.key, wrapped, place, table, row_id)

    @staticmethod
    def _decrypt(key: bytes, data: bytes, place: bytes, table: str, row_id: str) -> bytes:
        try:
            return AESGCM(key).decrypt(data[:_NONCE], data[_NONCE:], place)
        except InvalidTag:
            problem = "it was changed, or belongs to another row"
            raise SealedSecretUnreadable(table=table, row_id=row_id, problem=problem) from None


def rotate(session: Session, sealing: Sealing, clock: Clock) -> int:
    """Seal everything again under a new key; how many secrets. The caller commits, then drops the
    old keys: a crash between leaves a file that opens both."""
    sealing.add_key()
    count = 0
    for table, key, column, row_id, sealed in _sealed_values(session):
        renewed = sealing.reseal(table.name, row_id, column, sealed)
        session.execute(update(table).where(table.c[key] == row_id).values({column: renewed}))
        count += 1
    for setting in session.scalars(select(Setting).where(Setting.key != _PROOF_KEY)):
        if "sealed" in setting.value:
            renewed = sealing.reseal(
                "setting", setting.key, "value", bytes.fromhex(setting.value["sealed"])
            )
            setting.value = {**setting.value, "sealed": renewed.hex()}
            count += 1
    session.execute(delete(IdempotentRequest))
    sealing.prove(session, clock)
    return count


def forget(session: Session, clock: Clock) -> int:
    """Remove every sealed value: for when the key is lost. How many secrets."""
    count = len(list(_sealed_values(session)))
    session.execute(update(Platform).values(sealed_secret=None))
    session.execute(update(Repository).values(sealed_secret=None))
    session.execute(update(User).values(totp_sealed=None, totp_confirmed=False))
    session.execute(delete(NotificationTarget))
    session.execute(delete(IdempotentRequest))
    for setting in session.scalars(select(Setting)).all():
        if setting.key == _PROOF_KEY:
            session.delete(setting)
        elif "sealed" in setting.value:
            count += 1
            setting.value = {key: kept for key, kept in setting.value.items() if key != "sealed"}
            setting.changed_at = clock.now()
    return count


def _sealed_values(session: Session) -> Iterator[tuple[Table, str, str, str, bytes]]:
    places: tuple[tuple[Any, str], ...] = (
        (Platform, "sealed_secret"),
        (Repository, "sealed_secret"),
        (NotificationTarget, "sealed_url"),
        (User, "totp_sealed"),
    )
    for model, column in places:
        table = cast("Table[Any]", model.__table__)
        query = select(table.c.id, table.c[column]).where(table.c[column].is_not(None))
        for row_id, sealed in session.execute(query).all():
            yield table, "id", column, row_id, sealed


def _place(head: bytes, table: str, row_id: str, column: str) -> bytes:
    parts = [part.encode() for part in (table, row_id, column)]
    return head + b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _encrypt(key: bytes, plain: bytes, place: bytes) -> bytes:
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, place)


def _read(path: Path) -> list[_Key]:
    try:
        with path.open() as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = file.read(65536).split("\n")
    except (OSError, UnicodeDecodeError) as error:
        problem = getattr(error, "strerror", None) or "it is no text"
        raise SealingKeyUnusable(path=str(path), problem=problem) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SealingKeyUnusable(path=str(path), problem=f"others may read it: chmod 600 {path}")
    keys: list[_Key] = []
    for line in filter(None, lines):
        with contextlib.suppress(ValueError):
            key_id, _, key = line.partition(" ")
            found = _Key(bytes.fromhex(key_id), bytes.fromhex(key))
            if len(found.id) == _ID and len(found.key) == _KEY:
                keys.append(found)
                continue
        raise SealingKeyUnusable(path=str(path), problem="a line is not `<id> <key>`")
    if not keys:
        raise SealingKeyUnusable(path=str(path), problem="it is empty")
    return keys


def _write(path: Path, keys: Sequence[_Key]) -> None:
    """Durably, never half: a lost key file is lost secrets."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w") as file:
            file.writelines(key.line for key in keys)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SealingKeyUnusable(path=str(path), problem=str(error.strerror)) from error
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
