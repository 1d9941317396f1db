"""Objects made by someone without the key whose checksums are right: what nobody authenticates
must still be refused by name, without exhausting the reader and before any write."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.repository import Credential, LocalStore, Repository, parse_recovery_key
from holdfast.repository.errors import ObjectDamaged, RepositoryTooNew
from holdfast.repository.format.pack import (
    CHUNK_OVERHEAD_BYTES,
    ENTRY,
    FOOTER_BYTES,
    HEADER_BYTES,
    check_entries,
)

PASSPHRASE = Credential.passphrase("crafted")
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Credential]:
    root = tmp_path_factory.mktemp("crafted") / "repository"
    store = LocalStore(root)
    store.prepare()
    _, kit = Repository.create(store, PASSPHRASE, chunk_bytes=4096)
    line = next(line for line in kit.splitlines() if "HFK1-" in line)
    return root, parse_recovery_key(line)


def checked(text: bytes) -> bytes:
    return text + b"\n" + hashlib.sha256(text).hexdigest().encode() + b"\n"


def fingerprint(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


CONFIGS: list[tuple[str, Change, type[Exception]]] = [
    ("newer", lambda c: c.update(version=2), RepositoryTooNew),
    ("newer with other members", lambda c: c.update(version=9, more={}), RepositoryTooNew),
    ("unknown feature", lambda c: c.update(features=["parity"]), RepositoryTooNew),
    ("version 0", lambda c: c.update(version=0), ObjectDamaged),
    ("version true", lambda c: c.update(version=True), ObjectDamaged),
    ("version as text", lambda c: c.update(version="1"), ObjectDamaged),
    ("no version", lambda c: c.pop("version"), ObjectDamaged),
    ("features null", lambda c: c.update(features=None), ObjectDamaged),
    ("features a number", lambda c: c.update(features=5), ObjectDamaged),
    ("features of lists", lambda c: c.update(features=[[]]), ObjectDamaged),
    ("no features", lambda c: c.pop("features"), ObjectDamaged),
    ("id a number", lambda c: c.update(id=7), ObjectDamaged),
    ("chunks of 0", lambda c: c.update(chunk_bytes=0), ObjectDamaged),
    ("chunks of 3 MiB", lambda c: c.update(chunk_bytes=3 << 20), ObjectDamaged),
    ("chunks of 1 TiB", lambda c: c.update(chunk_bytes=1 << 40), ObjectDamaged),
    ("another chunk size", lambda c: c.update(chunk_bytes=8192), ObjectDamaged),
    ("another time", lambda c: c.update(created_at="2020-01-01T00:00:00.000Z"), ObjectDamaged),
]


@pytest.mark.parametrize(("change", "error"), [item[1:] for item in CONFIGS], ids=lambda _: "")
def test_config_with_a_right_checksum(
    pristine: tuple[Path, Credential], change: Change, error: type[Exception]
) -> None:
    root, recovery = pristine
    config = root / "config"
    stored = config.read_bytes()
    document = json.loads(stored.split(b"\n")[0])
    change(document)
    keyed = stored.split(b"\n")[2]
    config.write_bytes(checked(json.dumps(document, sort_keys=True).encode()) + keyed + b"\n")
    before = fingerprint(root)
    try:
        with pytest.raises(error):
            Repository.open(LocalStore(root), recovery)
        assert fingerprint(root) == before, "something was written"
    finally:
        config.write_bytes(stored)


def test_config_nested_too_deeply(pristine: tuple[Path, Credential]) -> None:
    root, recovery = pristine
    config = root / "config"
    stored = config.read_bytes()
    config.write_bytes(checked(b"[" * 100_000) + b"0" * 64 + b"\n")
    try:
        with pytest.raises(ObjectDamaged):
            Repository.open(LocalStore(root), recovery)
    finally:
        config.write_bytes(stored)


def _b64(size: int) -> str:
    return base64.b64encode(bytes(size)).decode()


SLOTS: list[Change] = [
    lambda s: s.update(kdf=[]),
    lambda s: s.update(kdf=None),
    lambda s: s.update(kind=7),
    lambda s: s.update(kind="biometric"),
    lambda s: s["kdf"].update(name="scrypt"),
    lambda s: s["kdf"].update(name="blake3"),
    lambda s: s["kdf"].update(salt=""),
    lambda s: s["kdf"].update(salt=_b64(1)),
    lambda s: s["kdf"].update(salt=_b64(1 << 20)),
    lambda s: s["kdf"].update(salt="é"),
    lambda s: s["kdf"].update(memory_kib=1 << 30),
    lambda s: s["kdf"].update(memory_kib=31),
    lambda s: s["kdf"].update(memory_kib="65536"),
    lambda s: s["kdf"].update(passes=0),
    lambda s: s["kdf"].update(passes=10**9),
    lambda s: s["kdf"].update(passes=True),
    lambda s: s["kdf"].update(lanes=17),
    lambda s: s["kdf"].update(extra=1),
    lambda s: s.update(nonce=""),
    lambda s: s.update(nonce=_b64(11)),
    lambda s: s.update(nonce=_b64(200)),
    lambda s: s.update(wrapped=""),
    lambda s: s.update(wrapped=_b64(47)),
    lambda s: s.update(wrapped=5),
    lambda s: s.update(version=2),
    lambda s: s.update(slot="another"),
    lambda s: s.pop("nonce"),
]


@pytest.mark.parametrize("change", SLOTS, ids=lambda _: "")
def test_slot_with_a_right_checksum(pristine: tuple[Path, Credential], change: Change) -> None:
    """Refused as damaged before any costly derivation; the other slot still opens."""
    root, recovery = pristine
    slot = next(p for p in (root / "keys").iterdir() if b"argon2id" in p.read_bytes())
    stored = slot.read_bytes()
    document = json.loads(stored.rstrip().rpartition(b"\n")[0])
    change(document)
    slot.write_bytes(checked(json.dumps(document).encode()))
    try:
        with pytest.raises(ObjectDamaged):
            Repository.open(LocalStore(root), PASSPHRASE)
        Repository.open(LocalStore(root), recovery)
    finally:
        slot.write_bytes(stored)


def test_lease_under_a_name_that_is_no_generation(pristine: tuple[Path, Credential]) -> None:
    root, recovery = pristine
    repository = Repository.open(LocalStore(root), recovery)
    others = set(root.glob("leases/*"))
    with repository.begin_backup(platform="p", vm_id="odd", vm_name="odd"):
        (resource,) = set(root.glob("leases/*")) - others
    for name in ("newest", "0x10", "1" * 17, "_", "-1"):
        (resource / name).write_bytes(b"junk")
        with repository.begin_backup(platform="p", vm_id="odd", vm_name="odd"):
            pass
        (resource / name).unlink()


def test_damaged_lease_holds_no_longer_than_a_good_one(pristine: tuple[Path, Credential]) -> None:
    root, recovery = pristine
    repository = Repository.open(LocalStore(root), recovery)
    # By name, not by age: two made within one tick of the file system's clock are equally old.
    others = set(root.glob("leases/*"))
    with repository.begin_backup(platform="p", vm_id="w", vm_name="w"):
        (resource,) = set(root.glob("leases/*")) - others
    newest = max(resource.iterdir())
    newest.write_bytes(b"junk")
    with pytest.raises(ObjectDamaged):
        repository.begin_backup(platform="p", vm_id="w", vm_name="w")
    past = newest.stat().st_mtime - timedelta(minutes=5).total_seconds()
    os.utime(newest, (past, past))
    with repository.begin_backup(platform="p", vm_id="w", vm_name="w"):
        pass


@pytest.mark.parametrize(
    ("column", "value"),
    [("type", 0), ("type", 4), ("type", 255), ("codec", 2), ("reserved", 1), ("plain_bytes", 0)],
)
def test_table_rows_outside_the_format(column: str, value: int) -> None:
    entries = np.zeros(2, dtype=ENTRY)
    entries["type"] = 1
    entries["plain_bytes"] = 10
    entries["stored_bytes"] = 40
    entries["offset"] = [HEADER_BYTES, HEADER_BYTES + 40]
    size = HEADER_BYTES + 80 + 2 * ENTRY.itemsize + CHUNK_OVERHEAD_BYTES + FOOTER_BYTES
    check_entries(entries, size, key="packs/x")
    entries[column][1] = value
    with pytest.raises(ObjectDamaged):
        check_entries(entries, size, key="packs/x")
