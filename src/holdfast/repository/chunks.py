"""The read path of chunks: find, fetch, open, decompress, and hash again. Whatever comes out was
verified against its id; nothing else leaves this module."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from cryptography.exceptions import InvalidTag

from holdfast.core.units import KIB, MIB
from holdfast.repository.data_keys import DataKeys
from holdfast.repository.errors import ChunkMissing, ObjectDamaged, ObjectMissing
from holdfast.repository.format.pack import (
    HEADER_BYTES,
    ChunkCipher,
    ChunkIds,
    ChunkType,
    PackHeader,
    decode_header,
    pack_name,
    unpack_into,
    unpack_payload,
)
from holdfast.repository.index import ChunkIndex, ChunkLocation
from holdfast.repository.packs import Codecs
from holdfast.repository.reading import at_once, each
from holdfast.repository.store.store import ObjectStore

FETCH_BYTES = 4 * MIB
_GAP_BYTES = 64 * KIB
"""Reading over a gap this small costs less than a second request."""
_DISTANT_GAP_BYTES = 512 * KIB
"""On a storage that takes 20 ms to answer and sends 100 MB/s it would be 2 MB."""
_PAGE_READERS = 12
"""Requests at once for pages of maps from a distant storage, each of `FETCH_BYTES` at most."""
_PAYLOAD_READERS = 3
"""The same for chunks that are moved from pack to pack; twice as many answers are held."""


class ChunkReader:
    """Thread-safe. Keeps one cipher a pack that was read from: 1 KiB each."""

    def __init__(
        self,
        *,
        store: ObjectStore,
        index: ChunkIndex,
        ids: ChunkIds,
        repository_id: bytes,
        data_keys: DataKeys,
        recover: Callable[[], object],
        is_distant: bool = False,
    ) -> None:
        """`recover` brings chunks into the index that it lost; called once, when one is missing."""
        self._store = store
        self._is_distant = is_distant
        self._gap_bytes = _DISTANT_GAP_BYTES if is_distant else _GAP_BYTES
        self._index = index
        self._ids = ids
        self._repository_id = repository_id
        self._data_keys = data_keys
        self._ciphers: dict[PackHeader, ChunkCipher] = {}
        self._by_pack: dict[bytes, ChunkCipher] = {}
        self._asking: dict[bytes, threading.Lock] = {}
        self._recover = recover
        self._recovered = False
        self._lock = threading.Lock()
        self._codecs = Codecs()

    def id_of(self, kind: ChunkType, plaintext: bytes | bytearray | memoryview) -> bytes:
        """The id that this content has in this repository."""
        return self._ids.of(kind, plaintext)

    def locate(self, chunk_id: bytes, kind: ChunkType) -> ChunkLocation:
        """Raises ChunkMissing, also for a chunk of another type."""
        location = self._index.find(chunk_id) or self._find_again(chunk_id)
        if location is None or location.meta.type is not kind:
            raise ChunkMissing(chunk=chunk_id.hex())
        return location

    def read(self, chunk_id: bytes, kind: ChunkType = ChunkType.DATA) -> bytes:
        """The chunk's plaintext, from another pack if the first cannot give it. Raises
        ChunkMissing, ObjectMissing, ObjectDamaged."""
        location = self.locate(chunk_id, kind)
        try:
            return self.fetch(location)
        except (ObjectMissing, ObjectDamaged) as error:
            for other in self._elsewhere(location):
                with suppress(ObjectMissing, ObjectDamaged):
                    return self.fetch(other)
            raise error from None

    def read_known(self, chunk_id: bytes, kind: ChunkType = ChunkType.DATA) -> bytes:
        """`read` for a caller that has completed the index and expects damage: looks for no packs
        that the index lacks, which would list them all for every chunk that is lost."""
        problem: ObjectMissing | ObjectDamaged | None = None
        for location in self._index.find_all(chunk_id):
            if location.meta.type is kind:
                try:
                    return self.fetch(location)
                except (ObjectMissing, ObjectDamaged) as error:
                    problem = error
        raise problem or ChunkMissing(chunk=chunk_id.hex())

    def read_many(self, chunk_ids: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """`(id, plaintext)` of each data chunk, in the order they lie in the packs. Neighbours
        are fetched with one request of at most `FETCH_BYTES`."""
        for location, sealed in self._fetch_many(chunk_ids):
            chunk_id = location.meta.chunk_id
            try:
                plain = self.open(location, sealed) if sealed else self.read(chunk_id)
            except ObjectDamaged:
                plain = self.read(chunk_id)
            yield chunk_id, plain

    def read_into(
        self, places: Mapping[bytes, memoryview]
    ) -> Iterator[tuple[bytes, bytes | memoryview]]:
        """`read_many` of the chunks that have a place, without memory for each: what comes is the
        part of its place that holds the plaintext, or bytes when it had to be read in another way
        or its place is too short. Before a chunk comes, its place may hold anything."""
        for location, sealed in self._fetch_many(places):
            chunk_id = location.meta.chunk_id
            place = places[chunk_id]
            plain: bytes | memoryview
            try:
                if sealed and location.meta.plain_bytes <= len(place):
                    cipher = self._cipher_of(location.pack_hash)
                    plain = self._open_into(cipher, location, sealed, place)
                else:
                    plain = self.read(chunk_id)
            except ObjectDamaged:
                plain = self.read(chunk_id)
            yield chunk_id, plain

    def _fetch_many(
        self, chunk_ids: Iterable[bytes]
    ) -> Iterator[tuple[ChunkLocation, memoryview | None]]:
        """Where each data chunk is, and its sealed bytes, None when they could not be fetched."""
        locations = [self.locate(chunk, ChunkType.DATA) for chunk in dict.fromkeys(chunk_ids)]
        locations.sort(key=lambda item: (item.pack_hash, item.offset))
        yield from self._fetch_each(locations)

    def together(
        self, chunks: Iterable[tuple[int, bytes]], most: int
    ) -> Iterator[list[tuple[int, bytes]]]:
        """The data chunks, each with its place on a disk, in groups of at most `most` that one
        request fetches; each group in the order of the places. Raises ChunkMissing."""
        places: dict[bytes, list[int]] = {}
        for place, chunk_id in chunks:
            places.setdefault(chunk_id, []).append(place)
        locations = [self.locate(chunk, ChunkType.DATA) for chunk in places]
        locations.sort(key=lambda item: (item.pack_hash, item.offset))
        for group in _neighbours(locations, self._gap_bytes):
            ids = [item.meta.chunk_id for item in group]
            joined = [(place, chunk_id) for chunk_id in ids for place in places[chunk_id]]
            for start in range(0, len(joined), most):
                yield sorted(joined[start : start + most])

    def read_pages(self, page_ids: Sequence[bytes]) -> list[bytes]:
        """Plaintext of pages of maps, in the order of `page_ids`; neighbours are fetched with one
        request. Raises what `read` raises."""
        locations = [self.locate(page, ChunkType.MAP) for page in dict.fromkeys(page_ids)]
        locations.sort(key=lambda item: (item.pack_hash, item.offset))
        found: dict[bytes, bytes] = {}
        groups = list(_neighbours(locations, self._gap_bytes))
        if self._is_distant:
            opened = at_once(self._open_group, _with_packs(groups), workers=_PAGE_READERS)
        else:
            opened = each(self._open_group, groups, workers=_PAGE_READERS)
        for pages in opened:
            found.update(pages)
        return [
            found[page] if page in found else self.read(page, ChunkType.MAP) for page in page_ids
        ]

    def _open_group(self, group: Sequence[ChunkLocation] | bytes) -> dict[bytes, bytes]:
        """Those of the neighbours that can be read, by id. None of a pack's hash, whose cipher is
        got ready."""
        if isinstance(group, bytes):
            return self._prepare(group)
        opened: dict[bytes, bytes] = {}
        for item, sealed in self._fetch_each(group):
            if sealed is not None:
                with suppress(ObjectMissing, ObjectDamaged):
                    opened[item.meta.chunk_id] = self.open(item, sealed)
        return opened

    def payloads(
        self, locations: Sequence[ChunkLocation]
    ) -> Iterator[tuple[ChunkLocation, bytes | None]]:
        """What is under each chunk's seal, compressed as it is there; None for one that this place
        cannot give. Its seal says that it was sealed here as this chunk; its content was not
        hashed. `locations` are in the order they lie in their packs. Of a distant storage more is
        asked for meanwhile: up to 6 times `FETCH_BYTES` are in memory."""
        groups = list(_neighbours(locations, self._gap_bytes))
        if not self._is_distant or len(groups) < 2:
            for group in groups:
                yield from self._open_payloads(group)
            return
        asked = _with_packs(groups)
        for opened in at_once(self._open_payloads, asked, workers=_PAYLOAD_READERS):
            yield from opened

    def _open_payloads(
        self, group: Sequence[ChunkLocation] | bytes
    ) -> list[tuple[ChunkLocation, bytes | None]]:
        """Of neighbours; nothing of a pack's hash, whose cipher is got ready."""
        if isinstance(group, bytes):
            self._prepare(group)
            return []
        opened: list[tuple[ChunkLocation, bytes | None]] = []
        for item, sealed in self._fetch_each(group):
            payload: bytes | None = None
            if sealed is not None:
                with suppress(ObjectMissing, ObjectDamaged, InvalidTag):
                    payload = self._cipher_of(item.pack_hash).open(item.meta, sealed)
            opened.append((item, payload))
        return opened

    def _fetch_each(
        self, locations: Sequence[ChunkLocation]
    ) -> Iterator[tuple[ChunkLocation, memoryview | None]]:
        """The sealed bytes of each, None where they cannot be read; of neighbours with one
        request."""
        for group in _neighbours(locations, self._gap_bytes):
            start = group[0].offset
            end = group[-1].offset + group[-1].stored_bytes
            key = pack_name(group[0].pack_hash)
            try:
                stored = memoryview(self._store.get_range(key, start, end - start))
            except (ObjectMissing, ObjectDamaged):
                stored = None
            for item in group:
                first = item.offset - start
                yield item, stored[first : first + item.stored_bytes] if stored else None

    def open(self, location: ChunkLocation, stored: bytes | memoryview) -> bytes:
        """Plaintext of sealed bytes that were fetched already. Raises ObjectDamaged."""
        return self.open_with(self._cipher_of(location.pack_hash), location, stored)

    def open_with(
        self, cipher: ChunkCipher, location: ChunkLocation, stored: bytes | memoryview
    ) -> bytes:
        """`open` for a caller that has the pack's cipher."""
        with _as_damage(location):
            payload = cipher.open(location.meta, stored)
            plain = unpack_payload(location.meta, payload, self._codecs.decompressor)
        self._verify(location, plain)
        return plain

    def _open_into(
        self, cipher: ChunkCipher, location: ChunkLocation, stored: memoryview, place: memoryview
    ) -> memoryview:
        with _as_damage(location):
            payload = cipher.open(location.meta, stored)
            plain = unpack_into(location.meta, payload, self._codecs.decompressor, place)
        self._verify(location, plain)
        return plain

    def _verify(self, location: ChunkLocation, plain: bytes | memoryview) -> None:
        if self._ids.of(location.meta.type, plain) != location.meta.chunk_id:
            problem = f"the chunk at byte {location.offset} is not the one it should be"
            raise ObjectDamaged(key=pack_name(location.pack_hash), problem=problem)

    def _elsewhere(self, bad: ChunkLocation) -> Iterator[ChunkLocation]:
        """Other places of the chunk: a compact run may have moved it since the index was read, or
        a later backup stored it again because its pack is damaged."""
        with self._lock:
            self._recover()
        for location in self._index.find_all(bad.meta.chunk_id):
            if location.pack_hash != bad.pack_hash and location.meta.type is bad.meta.type:
                yield location

    def _find_again(self, chunk_id: bytes) -> ChunkLocation | None:
        with self._lock:
            if not self._recovered:
                self._recover()
                self._recovered = True
        return self._index.find(chunk_id)

    def fetch(self, location: ChunkLocation) -> bytes:
        """The chunk from this very place. Raises ObjectMissing, ObjectDamaged."""
        stored = self._store.get_range(
            pack_name(location.pack_hash), location.offset, location.stored_bytes
        )
        return self.open(location, stored)

    def _prepare(self, pack_hash: bytes) -> dict[bytes, bytes]:
        """Ask for what opens a pack beside the first of its chunks."""
        with suppress(ObjectMissing, ObjectDamaged):  # said again of each of its chunks
            self._cipher_of(pack_hash)
        return {}

    def _cipher_of(self, pack_hash: bytes) -> ChunkCipher:
        cipher = self._by_pack.get(pack_hash)
        if cipher is not None:
            return cipher
        with self._lock:
            asking = self._asking.setdefault(pack_hash, threading.Lock())
        with asking:  # of several threads that come to a pack one asks for its header
            cipher = self._by_pack.get(pack_hash)
            if cipher is None:
                key = pack_name(pack_hash)
                header = self._store.get_range(key, 0, HEADER_BYTES)
                names = decode_header(header, self._repository_id, key=key)
                cipher = self._ciphers.get(names) or self._data_keys.cipher(names, key=key)
                with self._lock:
                    self._by_pack[pack_hash] = self._ciphers.setdefault(names, cipher)
                    self._asking.pop(pack_hash, None)
        return cipher


@contextmanager
def _as_damage(location: ChunkLocation) -> Generator[None]:
    """What goes wrong when a chunk is opened, as damage of its pack."""
    try:
        yield
    except InvalidTag as error:
        problem = f"the chunk at byte {location.offset} fails authentication"
        raise ObjectDamaged(key=pack_name(location.pack_hash), problem=problem) from error
    except ValueError as error:
        problem = f"the chunk at byte {location.offset}: {error}"
        raise ObjectDamaged(key=pack_name(location.pack_hash), problem=problem) from error


def _with_packs(
    groups: Sequence[list[ChunkLocation]],
) -> Iterator[Sequence[ChunkLocation] | bytes]:
    """Each pack's hash before the first group of its chunks."""
    before = b""
    for group in groups:
        if group[0].pack_hash != before:
            before = group[0].pack_hash
            yield before
        yield group


def _neighbours(
    locations: Iterable[ChunkLocation], gap_bytes: int
) -> Iterator[list[ChunkLocation]]:
    """Runs of locations of one pack with small gaps, each run within `FETCH_BYTES`."""
    group: list[ChunkLocation] = []
    for item in locations:
        if group:
            last = group[-1]
            gap = item.offset - last.offset - last.stored_bytes
            length = item.offset + item.stored_bytes - group[0].offset
            if item.pack_hash != last.pack_hash or gap > gap_bytes or length > FETCH_BYTES:
                yield group
                group = []
        group.append(item)
    if group:
        yield group
