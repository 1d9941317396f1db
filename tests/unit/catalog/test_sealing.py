"""Sealed secrets open in their own place only, and with their own key."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.catalog import sealing as sealed
from holdfast.catalog.database import Database
from holdfast.catalog.migrations import upgrade
from holdfast.catalog.models import Platform, User
from holdfast.catalog.sealing import (
    SealedSecretUnreadable,
    Sealing,
    SealingKeyMissing,
    SealingKeyUnusable,
    SealingKeyWrong,
)
from holdfast.catalog.settings import read_setting, write_setting
from holdfast.core.clock import SystemClock

PLACE = ("platform", "row-1", "sealed_secret")
CLOCK = SystemClock()


@pytest.fixture
def database(tmp_path: Path) -> Database:
    opened = Database.open(f"sqlite:///{tmp_path}/holdfast.db")
    upgrade(opened)
    return opened


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "sealing.key"


def start(database: Database, key_file: Path) -> Sealing:
    with database.writing() as session:
        return Sealing.open_or_create(key_file, session, CLOCK)


def test_the_key_file_is_made_once_and_for_its_owner_only(
    database: Database, key_file: Path
) -> None:
    first = start(database, key_file)
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    before = key_file.read_bytes()
    sealed_value = first.seal(*PLACE, b"secret")
    again = start(database, key_file)
    assert key_file.read_bytes() == before
    assert again.unseal(*PLACE, sealed_value) == b"secret"


def test_missing_wrong_and_open_key_files_are_told_apart(
    database: Database, key_file: Path, tmp_path: Path
) -> None:
    start(database, key_file)
    kept = key_file.read_bytes()
    key_file.unlink()
    with pytest.raises(SealingKeyMissing):
        start(database, key_file)
    assert not key_file.exists(), "never a new key over secrets of the old one"
    other = Database.open(f"sqlite:///{tmp_path}/other.db")
    upgrade(other)
    start(other, key_file)
    with pytest.raises(SealingKeyWrong):
        start(database, key_file)
    key_file.write_bytes(kept)
    key_file.chmod(0o640)
    with pytest.raises(SealingKeyUnusable, match="chmod 600"):
        start(database, key_file)
    key_file.chmod(0o600)
    for damage in (b"", b"zz\n", kept[:40], kept[:-2] + b"\n"):
        key_file.write_bytes(damage)
        with pytest.raises(SealingKeyUnusable):
            start(database, key_file)


@given(secret=st.binary(max_size=200), at=st.integers(0), bit=st.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_bit_is_noticed(
    database: Database, key_file: Path, secret: bytes, at: int, bit: int
) -> None:
    sealing = start(database, key_file)
    envelope = bytearray(sealing.seal(*PLACE, secret))
    assert sealing.unseal(*PLACE, bytes(envelope)) == secret
    envelope[at % len(envelope)] ^= 1 << bit
    with pytest.raises(SealedSecretUnreadable):
        sealing.unseal(*PLACE, bytes(envelope))


def test_a_value_opens_in_its_own_place_only(database: Database, key_file: Path) -> None:
    sealing = start(database, key_file)
    envelope = sealing.seal(*PLACE, b"secret")
    assert b"secret" not in envelope
    assert envelope != sealing.seal(*PLACE, b"secret")
    for place in (
        ("repository", "row-1", "sealed_secret"),
        ("platform", "row-2", "sealed_secret"),
        ("platform", "row-1", "other"),
        ("platformrow-1", "", "sealed_secret"),
    ):
        with pytest.raises(SealedSecretUnreadable):
            sealing.unseal(*place, envelope)
    for cut in (b"", envelope[:10], envelope[:-1], envelope + b"x", b"plain text secret" * 10):
        with pytest.raises(SealedSecretUnreadable):
            sealing.unseal(*PLACE, cut)


def fill(database: Database, sealing: Sealing) -> None:
    with database.writing() as session:
        platform = Platform(
            id="p1", name="p", kind="libvirt", identity="x", settings={}, created_at=CLOCK.now()
        )
        platform.sealed_secret = sealing.seal("platform", "p1", "sealed_secret", b"one")
        user = User(id="u1", name="u", created_at=CLOCK.now())
        user.totp_sealed = sealing.seal("user_account", "u1", "totp_sealed", b"two")
        session.add_all([platform, user])
        value = sealing.seal("setting", "auth.oidc", "value", b"three").hex()
        write_setting(session, "auth.oidc", {"sealed": value, "name": "x"}, CLOCK)


def opened(database: Database, sealing: Sealing) -> list[bytes]:
    with database.reading() as session:
        platform, user = session.get_one(Platform, "p1"), session.get_one(User, "u1")
        setting = bytes.fromhex(read_setting(session, "auth.oidc")["sealed"])
    return [
        sealing.unseal("platform", "p1", "sealed_secret", platform.sealed_secret or b""),
        sealing.unseal("user_account", "u1", "totp_sealed", user.totp_sealed or b""),
        sealing.unseal("setting", "auth.oidc", "value", setting),
    ]


def test_rotation_seals_all_again_and_forgets_the_old_key(
    database: Database, key_file: Path
) -> None:
    fill(database, start(database, key_file))
    old = key_file.read_text().split()[0]
    with database.writing() as session:
        sealing = Sealing.open_or_create(key_file, session, CLOCK)
        assert sealed.rotate(session, sealing, CLOCK) == 3
    sealing.drop_old_keys()
    assert old not in key_file.read_text()
    assert opened(database, start(database, key_file)) == [b"one", b"two", b"three"]


@pytest.mark.parametrize("committed", [True, False])
def test_rotation_that_is_killed_half_way_loses_nothing(
    database: Database, key_file: Path, committed: bool
) -> None:
    fill(database, start(database, key_file))
    with database.reading() as reading:
        sealing = Sealing.open(key_file)
        if committed:
            with database.writing() as session:
                sealed.rotate(session, sealing, CLOCK)
        else:
            sealed.rotate(reading, sealing, CLOCK)
    after = start(database, key_file)
    assert opened(database, after) == [b"one", b"two", b"three"]
    with database.writing() as session:
        assert sealed.rotate(session, after, CLOCK) == 3
    after.drop_old_keys()
    assert opened(database, start(database, key_file)) == [b"one", b"two", b"three"]


def test_a_lost_key_is_given_up_on_purpose(database: Database, key_file: Path) -> None:
    fill(database, start(database, key_file))
    key_file.unlink()
    with database.writing() as session:
        assert sealed.forget(session, CLOCK) == 3
    start(database, key_file)
    with database.reading() as session:
        assert session.get_one(Platform, "p1").sealed_secret is None
        assert read_setting(session, "auth.oidc") == {"name": "x"}
