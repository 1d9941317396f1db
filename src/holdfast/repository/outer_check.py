"""What anybody can check of a repository without a key: that packs, index objects and bundles are
the bytes that their names say, that public parts are whole, and that nothing is here of another
repository.

What is sealed stays closed: whether all points have their chunks, `check` tells with a key. Changes
nothing. Enter at `check_outer`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from blake3 import blake3

from holdfast.core.cancellation import CancelToken
from holdfast.core.progress import Progress, ProgressSink
from holdfast.core.units import MIB
from holdfast.repository.errors import ObjectDamaged, ObjectMissing
from holdfast.repository.format.envelope import owner_of
from holdfast.repository.format.keys import Credential, open_slot
from holdfast.repository.format.pack import (
    FOOTER_BYTES,
    HEADER_BYTES,
    decode_footer,
    decode_header,
)
from holdfast.repository.presence import SENTINEL_KEY, read_config
from holdfast.repository.reading import each, is_distant
from holdfast.repository.store.store import ObjectInfo, ObjectStore

_READ_BYTES = 8 * MIB
_READERS = 6
"""Objects read at once from a distant storage, each with `_READ_BYTES` in memory."""
_PACK = re.compile(r"packs/(?P<start>[0-9a-f]{2})/(?P<hash>(?P=start)[0-9a-f]{62})")
_CACHE = re.compile(r"(?:index|bundles)/(?P<hash>[0-9a-f]{64})")
_SEALED = (
    *("points/", "marks/", "holds/", "leases/", "tombstones/", "verified/"),
    *("datakeys/", "immutability/", "locks/", "verdicts/", SENTINEL_KEY),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterProblem:
    object: str
    problem: str


@dataclass(slots=True, kw_only=True)
class OuterReport:
    repository_id: str
    objects: int = 0
    packs: int = 0
    read_bytes: int = 0
    problems: list[OuterProblem] = field(default_factory=list[OuterProblem])

    @property
    def is_sound(self) -> bool:
        return not self.problems


def check_outer(store: ObjectStore, *, cancel: CancelToken, progress: ProgressSink) -> OuterReport:
    """Reads every byte. Safe beside everything else. Raises NotARepository, RepositoryTooNew,
    ObjectDamaged (of `config`), StoreUnavailable, Cancelled."""
    config, _ = read_config(store)
    owner = config.repository_id.bytes
    report = OuterReport(repository_id=str(config.repository_id))
    objects = list(store.list(""))
    total = sum(info.size_bytes for info in objects)

    def look(info: ObjectInfo) -> str:
        try:
            return _problem(store, owner, info, cancel)
        except ObjectMissing:
            return ""  # replaced or deleted since the listing: legal
        except ObjectDamaged as error:
            return error.problem

    is_slow = is_distant(store)
    found = each(look, objects, workers=_READERS, is_slow=is_slow)
    for info, problem in zip(objects, found, strict=True):
        cancel.check()
        report.objects += 1
        report.packs += _PACK.fullmatch(info.key) is not None
        report.read_bytes += info.size_bytes
        if problem:
            report.problems.append(OuterProblem(object=info.key, problem=problem))
        progress.update(Progress(phase="hashing", done_bytes=report.read_bytes, total_bytes=total))
    if not any(info.key == SENTINEL_KEY for info in objects):
        problem = "it is missing: perhaps not all of the storage is here"
        report.problems.append(OuterProblem(object=SENTINEL_KEY, problem=problem))
    if not any(info.key.startswith("keys/") for info in objects):
        problem = "there is no key slot: nobody can open this repository"
        report.problems.append(OuterProblem(object="keys/", problem=problem))
    report.problems.sort(key=lambda item: item.object)
    return report


def _problem(store: ObjectStore, owner: bytes, info: ObjectInfo, cancel: CancelToken) -> str:
    """Empty when there is none. Raises ObjectDamaged, ObjectMissing."""
    key = info.key
    named = _PACK.fullmatch(key) or _CACHE.fullmatch(key)
    if named:
        hasher = blake3()
        for part in _parts(store, info, cancel):
            hasher.update(part)
        if hasher.hexdigest() != named["hash"]:
            return "its bytes do not hash to its name"
    if key.startswith("packs/"):
        return _pack_problem(store, owner, info) if named else "its name is not that of a pack"
    if key.startswith("keys/"):
        # Of no kind that a slot has, so that nothing is derived; its checksum is looked at.
        open_slot(owner, key.removeprefix("keys/"), store.get(key), Credential(kind="", secret=b""))
    elif named or key.startswith(_SEALED):
        belongs_to = owner_of(store.get(key))
        if belongs_to != owner:
            return "it belongs to another repository" if belongs_to else "it is no sealed object"
    return ""


def _pack_problem(store: ObjectStore, owner: bytes, info: ObjectInfo) -> str:
    if info.size_bytes < HEADER_BYTES + FOOTER_BYTES:
        return f"it is only {info.size_bytes} bytes long"
    decode_header(store.get_range(info.key, 0, HEADER_BYTES), owner, key=info.key)
    footer = store.get_range(info.key, info.size_bytes - FOOTER_BYTES, FOOTER_BYTES)
    decode_footer(footer, info.size_bytes, key=info.key)
    return ""


def _parts(store: ObjectStore, info: ObjectInfo, cancel: CancelToken) -> Iterator[bytes]:
    for start in range(0, info.size_bytes, _READ_BYTES):
        cancel.check()
        yield store.get_range(info.key, start, min(_READ_BYTES, info.size_bytes - start))
