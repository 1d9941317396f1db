"""A second reader of Holdfast repositories, written from docs/format alone.

It proves that the text is complete, and it is the reader of last resort: one file, needing only
Python and the packages blake3, cryptography and zstandard. It must import nothing of Holdfast.
Slow and plain on purpose: it verifies everything it touches, whole packs included.

    python independent_reader.py REPOSITORY --passphrase-file FILE --list
    python independent_reader.py REPOSITORY --passphrase-file FILE --restore POINT --to FOLDER
    python independent_reader.py REPOSITORY --passphrase-file FILE POINT DISK OUTPUT

The file may hold the passphrase, the recovery key or a whole recovery kit. `--restore` writes every
disk of the point as a sparse raw image and every artifact (VM definition, NVRAM, TPM state) into a
new folder; a POINT is an id, a unique beginning of one, `latest`, or the name of a VM for its
latest point. The third form writes one disk, or with `--artifact` one artifact. Nothing is written
to the repository. The exit status is 3 when something is damaged; what is not was written all the
same.

Enter at `Repository`, then `Repository.restore`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import struct
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

KINDS = {"sentinel": 3, "index": 5, "point": 6, "lease": 7, "mark": 8, "datakey": 12}
CHUNK_TYPES = {"data": 1, "map": 2, "artifact": 3}
FANOUT = 512
ZERO_ID = bytes(32)
PACK_HEADER = struct.Struct("<8sHI2s16s32s")
PACK_FOOTER = struct.Struct("<II8s")
ROW = struct.Struct("<32sBBHIII")
INDEX_PACK = struct.Struct("<32sQI")
ENVELOPE_HEADER = struct.Struct("<8sBB6s16s")
SEAL_BYTES = 28
MAX_CHUNK_BYTES = 16 * 1024 * 1024
MAX_PACK_BYTES = 256 * 1024 * 1024


class Refused(Exception):
    """The repository, or the part asked for, cannot be read; nothing wrong was returned."""


def require(condition: bool, problem: str) -> None:
    if not condition:
        raise Refused(problem)


# -- keys (objects.md "Key derivation", keys.md) --------------------------------------------------


def derive(material: bytes, purpose: str, salt: bytes = b"") -> bytes:
    context = "holdfast repository v1 " + purpose
    return blake3(material + salt, derive_key_context=context).digest()


def parse_recovery_key(text: str) -> bytes | None:
    """The 32 bytes, or None when the text is a passphrase."""
    cleaned = text.strip().upper()
    if not cleaned.startswith("HFK1-"):
        return None
    letters = "".join(cleaned.split()).replace("-", "").removeprefix("HFK1")
    require(re.fullmatch("[A-Z2-7]{56}", letters) is not None, "not a recovery key")
    raw = base64.b32decode(letters)
    key, checksum = raw[:32], raw[32:]
    expected = hashlib.sha256(b"holdfast recovery key" + key).digest()[:3]
    require(checksum == expected, "the recovery key has a typing error")
    return key


def parse_slot(name: str, stored: bytes) -> dict[str, Any]:
    lines = stored.rsplit(b"\n", 2)
    require(len(lines) == 3 and lines[2] == b"", f"key slot {name}: not in three parts")
    text, checksum = lines[0], lines[1]
    require(hashlib.sha256(text).hexdigest().encode() == checksum, f"key slot {name}: damaged")
    slot: dict[str, Any] = json.loads(text)
    require(
        set(slot) == {"version", "slot", "kind", "kdf", "nonce", "wrapped"}
        and slot["version"] == 1
        and slot["slot"] == name,
        f"key slot {name}: wrong members",
    )
    return slot


def open_slot(repository_id: bytes, slot: dict[str, Any], secret: str) -> bytes | None:
    """The master key, or None when the slot is not for this secret."""
    recovery_key = parse_recovery_key(secret)
    if slot["kind"] != ("passphrase" if recovery_key is None else "recovery"):
        return None
    kdf = slot["kdf"]
    salt = base64.b64decode(kdf["salt"], validate=True)
    require(len(salt) == 16, "key slot: salt of a wrong size")
    if kdf["name"] == "argon2id":
        memory, passes, lanes = kdf["memory_kib"], kdf["passes"], kdf["lanes"]
        require(1 <= passes <= 16 and 1 <= lanes <= 16, "key slot: unreasonable costs")
        require(8 * lanes <= memory <= 1024 * 1024, "key slot: unreasonable memory")
        derivation = Argon2id(
            salt=salt, length=32, iterations=passes, lanes=lanes, memory_cost=memory
        )
        wrapping = derivation.derive(secret.encode() if recovery_key is None else recovery_key)
    else:
        require(kdf["name"] == "blake3" and recovery_key is not None, "key slot: unknown kdf")
        wrapping = derive(recovery_key or b"", "recovery key wrap", salt)
    public = {name: slot[name] for name in ("version", "slot", "kind", "kdf")}
    canonical = json.dumps(public, sort_keys=True, separators=(", ", ": ")).encode("ascii")
    nonce = base64.b64decode(slot["nonce"], validate=True)
    wrapped = base64.b64decode(slot["wrapped"], validate=True)
    require(len(nonce) == 12 and len(wrapped) == 48, "key slot: fields of a wrong size")
    try:
        aad = b"holdfast key slot" + repository_id + canonical
        return AESGCM(wrapping).decrypt(nonce, wrapped, aad)
    except InvalidTag:
        return None


def parse_config(stored: bytes) -> dict[str, Any]:
    lines = stored.split(b"\n")
    require(len(lines) == 4 and lines[3] == b"", "config: not three lines")
    require(hashlib.sha256(lines[0]).hexdigest().encode() == lines[1], "config: damaged")
    config: dict[str, Any] = json.loads(lines[0])
    require(config["format"] == "holdfast repository", "config: not of a repository")
    require(config["version"] == 1, f"config: format {config['version']} is not known here")
    require(config["features"] == [], f"config: unknown features {config['features']}")
    members = {"format", "version", "id", "created_at", "chunk_bytes", "features"}
    require(set(config) == members, "config: wrong members")
    size = config["chunk_bytes"]
    require(4096 <= size <= MAX_CHUNK_BYTES and size & (size - 1) == 0, "config: chunk size")
    return config


# -- packs and the index --------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One row of a pack's table and the pack it is in."""

    pack: str
    chunk_id: bytes
    type: int
    codec: int
    offset: int
    stored_bytes: int
    plain_bytes: int


def parse_rows(pack: str, pack_bytes: int, table: bytes) -> list[Row]:
    rows: list[Row] = []
    position = PACK_HEADER.size
    for chunk_id, kind, codec, reserved, offset, stored, plain in ROW.iter_unpack(table):
        require(offset == position and stored > SEAL_BYTES, f"pack {pack}: rows do not tile it")
        require(kind in {1, 2, 3} and codec in {0, 1} and reserved == 0, f"pack {pack}: row")
        require(1 <= plain <= MAX_CHUNK_BYTES, f"pack {pack}: size of a chunk")
        rows.append(Row(pack, chunk_id, kind, codec, offset, stored, plain))
        position += stored
    require(bool(rows), f"pack {pack}: empty")
    table_at = pack_bytes - PACK_FOOTER.size - len(table) - SEAL_BYTES
    require(position == table_at, f"pack {pack}: rows do not tile it")
    return rows


class Pack:
    """A whole pack in memory, its name checked against its bytes."""

    def __init__(self, path: Path, repository_id: bytes, data_key: Callable[[int], bytes]) -> None:
        self.name = path.name
        require(path.is_file(), f"pack {self.name}: missing")
        require(path.stat().st_size <= MAX_PACK_BYTES, f"pack {self.name}: too large")
        self.data = path.read_bytes()
        require(blake3(self.data).hexdigest() == self.name, f"pack {self.name}: damaged")
        require(len(self.data) > PACK_HEADER.size + PACK_FOOTER.size, f"pack {self.name}: short")
        self._header = self.data[: PACK_HEADER.size]
        magic, version, generation, reserved, owner, salt = PACK_HEADER.unpack(self._header)
        expected = (b"HFPACK1\n", 2 if generation else 1, bytes(2))
        require((magic, version, reserved) == expected, f"pack {self.name}: header")
        require(owner == repository_id, f"pack {self.name}: of another repository")
        self._repository_id = repository_id
        self._cipher = AESGCM(derive(data_key(generation), "pack session", salt))

    def _open(self, sealed: bytes, aad: bytes) -> bytes:
        try:
            return self._cipher.decrypt(sealed[:12], sealed[12:], aad)
        except InvalidTag as error:
            raise Refused(f"pack {self.name}: fails authentication") from error

    def rows(self) -> list[Row]:
        table_bytes, count, magic = PACK_FOOTER.unpack(self.data[-PACK_FOOTER.size :])
        require(magic == b"HFPKEND\n", f"pack {self.name}: footer")
        require(table_bytes == 48 * count + SEAL_BYTES, f"pack {self.name}: footer")
        start = len(self.data) - PACK_FOOTER.size - table_bytes
        require(start >= PACK_HEADER.size, f"pack {self.name}: footer")
        aad = self._header + b"table" + struct.pack("<I", count)
        table = self._open(self.data[start : -PACK_FOOTER.size], aad)
        return parse_rows(self.name, len(self.data), table)

    def plaintext(self, row: Row) -> bytes:
        aad = struct.pack(
            "<16sBBBI32s",
            self._repository_id,
            4,
            row.type,
            row.codec,
            row.plain_bytes,
            row.chunk_id,
        )
        payload = self._open(self.data[row.offset : row.offset + row.stored_bytes], aad)
        if row.codec == 1:
            with zstandard.ZstdDecompressor().stream_reader(payload) as reader:
                payload = reader.read(row.plain_bytes + 1)
        require(len(payload) == row.plain_bytes, f"pack {self.name}: length of a chunk")
        return payload


# -- the repository -------------------------------------------------------------------------------


class Repository:
    """Opened read-only. `warnings` collects damage that did not stop the reading."""

    def __init__(self, root: Path, secret: str) -> None:
        self.root = root
        self.warnings: list[str] = []
        require((root / "config").is_file(), f"{root} is not a repository")
        stored = (root / "config").read_bytes()
        self.config = parse_config(stored)
        self.id = uuid.UUID(self.config["id"]).bytes
        self.master = self._unlock(secret)
        self._data_keys: dict[int, bytes] = {}
        first, _, keyed, _ = stored.split(b"\n")
        config_key = derive(self.master, "config")
        require(blake3(first, key=config_key).hexdigest().encode() == keyed, "config: altered")
        self.id_keys = {
            number: derive(self.master, f"chunk id {name}") for name, number in CHUNK_TYPES.items()
        }
        try:
            sentinel = self.open_envelope("sentinel", "sentinel")
            require(sentinel == b"holdfast", "sentinel: content")
        except Refused as problem:
            # It says that all of the storage is there. What is there can be read without it.
            self.warnings.append(str(problem))
        self._rows: dict[bytes, Row] | None = None
        self._pack: Pack | None = None

    def _unlock(self, secret: str) -> bytes:
        damage = ""
        for path in sorted(self._files("keys")):
            try:
                master = open_slot(self.id, parse_slot(path.name, path.read_bytes()), secret)
            except (Refused, ValueError, KeyError, TypeError) as error:
                damage = str(error)
                continue
            if master is not None and len(master) == 32:
                return master
        raise Refused(damage or "no key slot opens with this passphrase or recovery key")

    def _files(self, folder: str) -> Iterator[Path]:
        """Objects under a folder; names that begin with a dot are none."""
        top = self.root / folder
        for path in sorted(top.rglob("*")) if top.is_dir() else ():
            inside = path.relative_to(top).parts
            if path.is_file() and not any(part.startswith(".") for part in inside):
                yield path

    def open_envelope(self, kind: str, key: str) -> bytes:
        path = self.root / key
        require(path.is_file(), f"{key}: missing")
        stored = path.read_bytes()
        require(len(stored) >= 60, f"{key}: too short")
        if kind == "index":
            require(blake3(stored).hexdigest() == path.name, f"{key}: damaged")
        header = ENVELOPE_HEADER.pack(b"HFOBJ\r\n\x1a", 1, KINDS[kind], bytes(6), self.id)
        require(stored[:32] == header, f"{key}: header")
        aad = header + (b"" if kind == "index" else key.encode())
        try:
            cipher = AESGCM(derive(self.master, f"envelope {kind}"))
            return cipher.decrypt(stored[32:44], stored[44:], aad)
        except InvalidTag as error:
            raise Refused(f"{key}: fails authentication") from error

    def data_key(self, generation: int) -> bytes:
        """What packs of a generation are sealed under."""
        if generation == 0:
            return self.master
        if generation not in self._data_keys:
            self._data_keys[generation] = self._open_data_key(f"datakeys/{generation:08x}")
        return self._data_keys[generation]

    def _open_data_key(self, folder: str) -> bytes:
        for copy in ("a", "b"):
            try:
                key = self.open_envelope("datakey", f"{folder}/{copy}")
            except Refused as problem:
                self.warnings.append(str(problem))
                continue
            require(len(key) == 32, f"{folder}/{copy}: not a key")
            return key
        raise Refused(f"{folder}: no copy of this data key opens")

    def points(self) -> list[dict[str, Any]]:
        """The manifests that can be read, oldest first."""
        found: list[dict[str, Any]] = []
        for path in self._files("points"):
            try:
                found.append(self.point(path.name))
            except Refused as problem:
                self.warnings.append(str(problem))
        return sorted(found, key=lambda point: (point["captured_at"], point["id"]))

    def point(self, point_id: str) -> dict[str, Any]:
        key = f"points/{point_id}"
        manifest: dict[str, Any] = json.loads(self.open_envelope("point", key))
        require(manifest["manifest_version"] == 1, f"{key}: version")
        require(manifest["id"] == point_id, f"{key}: of another point")
        require(manifest["chunk_bytes"] == self.config["chunk_bytes"], f"{key}: chunk size")
        return manifest

    def suspects(self) -> dict[str, str]:
        """Reason by id of suspect point; the id `*` stands for all."""
        reasons: dict[str, str] = {}
        for path in self._files("marks"):
            try:
                mark = json.loads(self.open_envelope("mark", f"marks/{path.name}"))
            except Refused as problem:
                reasons["*"] = str(problem)
                continue
            reasons.update(dict.fromkeys(mark["points"], mark["reason"]))
        return reasons

    # -- chunks

    def _index(self) -> dict[bytes, Row]:
        """Rows by chunk id: from the index objects, and from the tables of packs in none."""
        rows: dict[bytes, Row] = {}
        known: set[str] = set()
        for path in self._files("index"):
            try:
                tables = self._tables(path.name)
            except Refused as problem:
                self.warnings.append(str(problem))
                continue
            for pack, table in tables.items():
                if (self.root / "packs" / pack[:2] / pack).is_file():
                    known.add(pack)
                    for row in table:
                        rows.setdefault(row.chunk_id, row)
        for path in self._files("packs"):
            if path.name not in known:
                try:
                    for row in Pack(path, self.id, self.data_key).rows():
                        rows.setdefault(row.chunk_id, row)
                except Refused as problem:
                    self.warnings.append(str(problem))
        return rows

    def _tables(self, name: str) -> dict[str, list[Row]]:
        """The tables in one index object, by name of pack."""
        content = self.open_envelope("index", f"index/{name}")
        tables: dict[str, list[Row]] = {}
        (count,) = struct.unpack_from("<I", content)
        position = 4
        for _ in range(count):
            pack_hash, pack_bytes, number = INDEX_PACK.unpack_from(content, position)
            position += INDEX_PACK.size
            table = content[position : position + number * ROW.size]
            require(len(table) == number * ROW.size, f"{name}: ends early")
            position += len(table)
            tables[pack_hash.hex()] = parse_rows(pack_hash.hex(), pack_bytes, table)
        require(position == len(content), f"{name}: has a tail")
        return tables

    def chunk(self, chunk_id: bytes, kind: str) -> bytes:
        if self._rows is None:
            self._rows = self._index()
        row = self._rows.get(chunk_id)
        if row is None or row.type != CHUNK_TYPES[kind]:
            raise Refused(f"chunk {chunk_id.hex()}: missing")
        if self._pack is None or self._pack.name != row.pack:
            path = self.root / "packs" / row.pack[:2] / row.pack
            self._pack = Pack(path, self.id, self.data_key)
        plain = self._pack.plaintext(row)
        actual = blake3(plain, key=self.id_keys[row.type]).digest()
        require(actual == chunk_id, f"chunk {chunk_id.hex()}: another content")
        return plain

    # -- disks

    def chunk_ids(self, page_id: bytes, level: int, number: int, count: int) -> Iterator[bytes]:
        """Ids of the chunks below a page, in order, zero ids included."""
        below = -(-count // FANOUT ** (level - 1))
        entries = min(below - number * FANOUT, FANOUT)
        if page_id == ZERO_ID:
            first = number * FANOUT**level
            yield from (ZERO_ID for _ in range(min(FANOUT**level, count - first)))
            return
        page = self.chunk(page_id, "map")
        require(len(page) == entries * 32, f"map page {page_id.hex()}: length")
        for slot in range(entries):
            entry = page[slot * 32 : slot * 32 + 32]
            if level == 1:
                yield entry
            else:
                yield from self.chunk_ids(entry, level - 1, number * FANOUT + slot, count)

    def restore(self, disk: dict[str, Any], output: BinaryIO) -> None:
        """Write the disk to a new, empty file; zeroes become holes."""
        size, step = disk["size_bytes"], self.config["chunk_bytes"]
        count = -(-size // step)
        height = 0 if count == 0 else 1
        while FANOUT**height < count:
            height += 1
        require(disk["height"] == height, "map: its height does not fit the disk")
        output.truncate(size)
        if count == 0:
            return
        for index, chunk_id in enumerate(
            self.chunk_ids(bytes.fromhex(disk["root"]), height, 0, count)
        ):
            if chunk_id != ZERO_ID:
                plain = self.chunk(chunk_id, "data")
                expected = min(step, size - index * step)
                require(len(plain) == expected, f"chunk {index} of the disk: length")
                output.seek(index * step)
                output.write(plain)

    def artifact(self, artifact: dict[str, Any]) -> bytes:
        parts = [self.chunk(bytes.fromhex(text), "artifact") for text in artifact["chunks"]]
        data = b"".join(parts)
        require(len(data) == artifact["size_bytes"], "artifact: length")
        return data


# -- a whole point --------------------------------------------------------------------------------


def choose(repository: Repository, wanted: str) -> dict[str, Any]:
    """By id or a unique beginning of it, `latest`, or the latest of the VM of that name."""
    points = repository.points()
    if wanted == "latest":
        require(bool(points), "there is no point that can be read")
        return points[-1]
    matches = [point for point in points if point["id"].startswith(wanted.lower())]
    matches = matches or [point for point in points if point["vm"]["name"] == wanted][-1:]
    require(len(matches) == 1, f"{wanted} is not one point: --list shows them")
    return matches[0]


def restore_all(repository: Repository, point: dict[str, Any], folder: Path) -> list[str]:
    """Every disk and artifact into a new folder; what could not be saved, in words."""
    folder.mkdir(parents=True)
    lost: list[str] = []
    used: set[str] = set()
    for artifact in point["artifacts"]:
        path = folder / free_name(artifact["name"], "", used)
        try:
            path.write_bytes(repository.artifact(artifact))
        except Refused as problem:
            lost.append(f"{artifact['name']}: {problem}")
    for disk in point["disks"]:
        path = folder / free_name(disk["key"], ".raw", used)
        try:
            with path.open("xb") as output:
                repository.restore(disk, output)
        except Refused as problem:
            path.unlink()
            lost.append(f"{disk['key']}: {problem}")
    return lost


def free_name(text: str, suffix: str, used: set[str]) -> str:
    """A name of a file in the folder, whatever `text` is."""
    stem = re.sub("[^A-Za-z0-9._-]", "_", text).strip(".").removesuffix(suffix) or "unnamed"
    number = 1
    name = stem + suffix
    while name.lower() in used:
        number += 1
        name = f"{stem}-{number}{suffix}"
    used.add(name.lower())
    return name


# -- command line ---------------------------------------------------------------------------------


def by_name(items: list[dict[str, Any]], field: str, name: str) -> dict[str, Any]:
    for item in items:
        if item[field] == name:
            return item
    raise Refused(f"there is no {name}; there are: " + ", ".join(item[field] for item in items))


def show(repository: Repository) -> None:
    suspects = repository.suspects()
    for point in repository.points():
        doubt = suspects.get(point["id"], suspects.get("*", ""))
        print(point["id"], point["captured_at"], point["captured_as"], repr(point["vm"]["name"]))
        for disk in point["disks"]:
            print("    disk", repr(disk["key"]), disk["size_bytes"], "bytes")
        for artifact in point["artifacts"]:
            print("    artifact", repr(artifact["name"]), artifact["size_bytes"], "bytes")
        if doubt:
            print("    SUSPECT:", repr(doubt))


def run(arguments: argparse.Namespace) -> int:
    """The exit status."""
    secret = arguments.passphrase_file.read_bytes().decode()
    in_kit = re.search(r"^\s*(HFK1-\S+)\s*$", secret, re.MULTILINE)
    if secret.startswith("HOLDFAST RECOVERY KIT") and in_kit is not None:
        secret = in_kit[1]
    repository = Repository(arguments.repository, re.sub(r"\r?\n\Z", "", secret))
    lost: list[str] = []
    if arguments.list:
        show(repository)
    elif arguments.restore is not None:
        point = choose(repository, arguments.restore)
        lost = restore_all(repository, point, arguments.to)
        print(f"{point['id']} of {point['vm']['name']!r} is in {arguments.to}")
        print("Make a VM with the firmware and disk bus that domain.xml says, over these images.")
    else:
        point = repository.point(arguments.point)
        with arguments.output.open("xb") as output:
            if arguments.artifact:
                item = by_name(point["artifacts"], "name", arguments.disk)
                output.write(repository.artifact(item))
            else:
                repository.restore(by_name(point["disks"], "key", arguments.disk), output)
    for warning in repository.warnings:
        print("warning:", warning, file=sys.stderr)
    for item in lost:
        print("NOT SAVED:", item, file=sys.stderr)
    return 3 if lost or repository.warnings else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Read a Holdfast repository")
    parser.add_argument("repository", type=Path)
    parser.add_argument("--passphrase-file", type=Path, required=True)
    parser.add_argument("--list", action="store_true", help="list points, then stop")
    parser.add_argument("--restore", metavar="POINT", help="restore everything of this point")
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="a new folder, for --restore")
    parser.add_argument("--artifact", action="store_true", help="DISK names an artifact")
    parser.add_argument("point", nargs="?")
    parser.add_argument("disk", nargs="?")
    parser.add_argument("output", nargs="?", type=Path)
    arguments = parser.parse_intermixed_args()
    if (arguments.restore is None) != (arguments.to is None):
        parser.error("--restore and --to go together")
    if not arguments.list and arguments.restore is None and arguments.output is None:
        parser.error("give --list, or --restore POINT --to FOLDER, or POINT DISK OUTPUT")
    try:
        return run(arguments)
    except (Refused, OSError, ValueError, KeyError) as problem:
        print("error:", problem, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
