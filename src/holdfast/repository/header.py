"""`config` and the sentinel, when they are not what they were: what they must have been, as the
rest of the repository tells it, and how sure that is.

Everything hangs on the master key, which a key slot gives for the right repository id only; the id
stands in every sealed object. The keyed hash in `config` proves a text that is built anew, as long
as most of that hash is left. Where it is not, the sentinel says the version of the format, and a
manifest the size of chunks. Writes nothing. Enter at `find_header`.
"""

from __future__ import annotations

import hashlib
import itertools
import operator
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice

from holdfast.core.clock import format_time
from holdfast.core.errors import HoldfastError
from holdfast.core.ids import uuid7_time
from holdfast.repository.access import unlock
from holdfast.repository.bundles import decoded
from holdfast.repository.errors import (
    HeaderDamaged,
    NotARepository,
    ObjectDamaged,
    ObjectMissing,
    WrongPassphrase,
)
from holdfast.repository.format import MAX_CHUNK_BYTES
from holdfast.repository.format.config import (
    RepositoryConfig,
    check_config,
    config_text,
    decode_config,
    keyed_hash,
)
from holdfast.repository.format.envelope import Kind, Sealer, owner_of
from holdfast.repository.format.keys import Credential
from holdfast.repository.format.point import Manifest, decode_manifests
from holdfast.repository.manifests import Manifests
from holdfast.repository.presence import SENTINEL_KEY
from holdfast.repository.repository import DEFAULT_CHUNK_BYTES
from holdfast.repository.store.store import ObjectStore, keys_below

CONFIG_KEY = "config"
_LOOKED_AT = 50
_TRIED = 4
"""Ids for which key slots are tried: a passphrase takes a tenth of a second each time."""
_HASH_DIGITS, _ENOUGH_DIGITS = 64, 48
"""Of the keyed hash so many are left at least: 192 bits, which nobody hits without the key."""
_CREATION_MS = 1000
"""The time of creation is the one in the id; earlier programs took it right after."""
_CHUNK_SIZES = [1 << power for power in range(12, MAX_CHUNK_BYTES.bit_length())]
_ID = re.compile(rb'"id": "([0-9a-f-]{36})"')
_CREATED = re.compile(rb'"created_at": "([0-9TZ.:-]{24})"')
_CHUNK_BYTES = re.compile(rb'"chunk_bytes": ([0-9]{4,8})\b')


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One of the two objects as it is now."""

    stored: bytes | None
    """None when it is missing."""
    problem: str
    """Empty when it is whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What was found, and what it should be."""

    master: bytes
    config: RepositoryConfig
    """As stored when that is whole, else as the other objects tell it."""
    config_part: Part
    is_proven: bool
    """The config is the one of creation, by its own keyed hash."""
    has_chunk_bytes: bool
    """The size of chunks is that of the points, or nothing depends on it."""
    sentinel_part: Part
    sentinel_content: bytes | None
    """None when it does not open."""


def find_header(store: ObjectStore, credential: Credential) -> Header:
    """Raises NotARepository, RepositoryTooNew, RepositoryIncomplete (no key slot), WrongPassphrase,
    ObjectDamaged (no slot can be read), StoreUnavailable."""
    config_part, config = _config(store)
    repository_id, master = _unlocked(store, credential, config_part.stored or b"", config)
    if config is not None and not config_part.problem:
        config_part = _checked(config_part, config, repository_id, master)
    sentinel_part, content = _sentinel(store, repository_id, master)
    header = Header(
        master=master,
        config=config or _guess(repository_id, DEFAULT_CHUNK_BYTES),
        config_part=config_part,
        is_proven=not config_part.problem,
        has_chunk_bytes=not config_part.problem,
        sentinel_part=sentinel_part,
        sentinel_content=content,
    )
    return header if header.is_proven else _rebuilt(store, header, repository_id)


# -- what is there ----------------------------------------------------------------------------


def _get(store: ObjectStore, key: str) -> Part:
    try:
        return Part(stored=store.get(key), problem="")
    except ObjectMissing:
        return Part(stored=None, problem="it is missing")
    except ObjectDamaged as error:
        return Part(stored=b"", problem=error.problem)


def _config(store: ObjectStore) -> tuple[Part, RepositoryConfig | None]:
    """Raises RepositoryTooNew."""
    part = _get(store, CONFIG_KEY)
    if part.problem or part.stored is None:
        return part, None
    try:
        return part, decode_config(part.stored, location=store.location)
    except HeaderDamaged as error:
        return replace(part, problem=error.problem), None


def _unlocked(
    store: ObjectStore, credential: Credential, stored: bytes, config: RepositoryConfig | None
) -> tuple[uuid.UUID, bytes]:
    """The id for which a key slot opens, and the master key. What `config` says is tried first."""
    wrong: HoldfastError | None = None
    for candidate in islice(_candidates(store, stored, config), _TRIED):
        try:
            return candidate, unlock(store, _guess(candidate, DEFAULT_CHUNK_BYTES), credential)
        except (WrongPassphrase, ObjectDamaged) as error:
            wrong = wrong or error
    raise wrong or NotARepository(location=store.location)


def _candidates(
    store: ObjectStore, stored: bytes, config: RepositoryConfig | None
) -> Iterator[uuid.UUID]:
    """Ids that this repository may have, each once, the likely ones first."""
    tried: list[uuid.UUID] = []
    if config is not None:
        tried.append(config.repository_id)
        yield config.repository_id
    owners: Counter[uuid.UUID] = Counter()
    for key in _envelopes(store):
        try:
            owner = owner_of(store.get(key))
        except (ObjectDamaged, ObjectMissing):
            continue
        if owner is not None:
            owners[uuid.UUID(bytes=owner)] += 1
    said = [uuid.UUID(match[1].decode()) for match in _ID.finditer(stored) if _is_id(match[1])]
    for candidate in [*(owner for owner, _ in owners.most_common()), *said]:
        if candidate not in tried:
            tried.append(candidate)
            yield candidate


def _is_id(text: bytes) -> bool:
    try:
        return str(uuid.UUID(text.decode())) == text.decode()
    except ValueError:
        return False


def _envelopes(store: ObjectStore) -> Iterator[str]:
    yield SENTINEL_KEY
    for folder in ("points/", "index/", "leases/"):
        yield from islice(keys_below(store, folder), _LOOKED_AT)


def _checked(part: Part, config: RepositoryConfig, repository_id: uuid.UUID, master: bytes) -> Part:
    if config.repository_id != repository_id:
        return replace(part, problem="it is that of another repository")
    try:
        check_config(part.stored or b"", master)
    except HeaderDamaged as error:
        return replace(part, problem=error.problem)
    return part


def _sentinel(
    store: ObjectStore, repository_id: uuid.UUID, master: bytes
) -> tuple[Part, bytes | None]:
    part = _get(store, SENTINEL_KEY)
    if part.problem or part.stored is None:
        return part, None
    sealer = Sealer(repository_id.bytes, master)
    try:
        return part, sealer.open(Kind.SENTINEL, SENTINEL_KEY, part.stored, key=SENTINEL_KEY)
    except ObjectDamaged as error:
        return replace(part, problem=error.problem), None


# -- what it was ------------------------------------------------------------------------------


def _rebuilt(store: ObjectStore, header: Header, repository_id: uuid.UUID) -> Header:
    """With the config that the keyed hash proves, or else the one that other objects tell."""
    stored = header.config_part.stored or b""
    proven = _proven(store, stored, repository_id, header.master)
    if proven is not None:
        return replace(header, config=proven, is_proven=True, has_chunk_bytes=True)
    manifests = Manifests(store, Sealer(repository_id.bytes, header.master), str(repository_id))
    points = manifests.ids()
    chunk_bytes = _chunk_bytes(manifests, points)
    config = _guess(repository_id, chunk_bytes or DEFAULT_CHUNK_BYTES)
    # That no point is listed proves nothing: their folder may be away. Nothing was ever stored?
    is_new = not points and not any(
        next(keys_below(store, folder), None) for folder in ("packs/", "index/", "bundles/")
    )
    return replace(header, config=config, has_chunk_bytes=bool(chunk_bytes) or is_new)


def _chunk_bytes(manifests: Manifests, points: Sequence[str]) -> int:
    """What any manifest that is left says, for all say the same; 0 when there is none."""
    for found in manifests.read_each(points):
        if isinstance(found, Manifest):
            return found.chunk_bytes
    for contents in manifests.bundles.read_all().values():
        for manifest in decoded(contents, decode_manifests).values():
            return manifest.chunk_bytes
    return 0


def _proven(
    store: ObjectStore, stored: bytes, repository_id: uuid.UUID, master: bytes
) -> RepositoryConfig | None:
    """Raises RepositoryTooNew when the keyed hash proves that."""
    lines = stored.split(b"\n")
    hashes = {
        line
        for line in (*lines[2:3], stored[-_HASH_DIGITS - 1 : -1])
        if len(line) >= _ENOUGH_DIGITS
    }
    if not hashes:
        return None
    for text in _texts(lines[0], repository_id):
        right = keyed_hash(text, master)
        if any(sum(map(operator.eq, right, found)) >= _ENOUGH_DIGITS for found in hashes):
            whole = b"\n".join((text, hashlib.sha256(text).hexdigest().encode(), right, b""))
            return decode_config(whole, location=store.location)
    return None


def _texts(line: bytes, repository_id: uuid.UUID) -> Iterator[bytes]:
    """The first line as it is, then as it may have been."""
    yield line
    said = _CREATED.search(line)
    times = [said[1].decode()] if said else []
    times += [_creation(repository_id, after_ms) for after_ms in range(_CREATION_MS)]
    size = _CHUNK_BYTES.search(line)
    sizes = sorted(_CHUNK_SIZES, key=lambda known: size is None or known != int(size[1]))
    config = _guess(repository_id, DEFAULT_CHUNK_BYTES)
    for created_at, chunk_bytes in itertools.product(times, sizes):
        yield config_text(replace(config, created_at=created_at, chunk_bytes=chunk_bytes))


def _guess(repository_id: uuid.UUID, chunk_bytes: int) -> RepositoryConfig:
    return RepositoryConfig(
        repository_id=repository_id, created_at=_creation(repository_id), chunk_bytes=chunk_bytes
    )


def _creation(repository_id: uuid.UUID, after_ms: int = 0) -> str:
    return format_time(uuid7_time(repository_id) + timedelta(milliseconds=after_ms))
