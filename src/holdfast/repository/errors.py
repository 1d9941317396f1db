"""Errors of repositories and their stores."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.core.errors import Category, HoldfastError, Retry


@dataclass(kw_only=True, eq=False)
class StoreUnavailable(HoldfastError):
    code = "store_unavailable"
    retry = Retry.LATER
    template = "the storage of {location} does not answer as it should: {problem}"
    hint = "Check that it is mounted, reachable and writable by this user"
    location: str
    problem: str


@dataclass(kw_only=True, eq=False)
class ObjectMissing(HoldfastError):
    code = "object_missing"
    category = Category.INTEGRITY
    template = "{key} is missing from {location}"
    hint = "Run `holdfast check` to see which points are affected"
    key: str
    location: str


@dataclass(kw_only=True, eq=False)
class ObjectExists(HoldfastError):
    """A no-replace create lost: somebody else made the object first."""

    code = "object_exists"
    category = Category.CONFLICT
    template = "{key} exists already in {location}"
    key: str
    location: str


@dataclass(kw_only=True, eq=False)
class ObjectDamaged(HoldfastError):
    """Stored bytes are not what was written: truncated, altered, swapped or of another place."""

    code = "object_damaged"
    category = Category.INTEGRITY
    template = "{key} is damaged: {problem}"
    hint = "Run `holdfast verify` to see which points are affected"
    key: str
    problem: str


@dataclass(kw_only=True, eq=False)
class HeaderDamaged(ObjectDamaged):
    """`config` or the sentinel, without which nobody opens the repository."""

    code = "header_damaged"
    hint = (
        "`holdfast repair`, with the passphrase or the recovery kit, puts it right where it can be "
        "proven what it was; `holdfast rescue` reads the points as it is"
    )


@dataclass(kw_only=True, eq=False)
class HeaderUnproven(HoldfastError):
    """What `config` or the sentinel was can be told from nothing that is left."""

    code = "header_unproven"
    category = Category.INTEGRITY
    template = "{key} of {location} was not put right: {problem}"
    hint = (
        "Nothing was changed. `holdfast rescue {location}` reads the points as it is. If you know "
        "that all of the storage is mounted, and that no newer Holdfast wrote to it, "
        "`holdfast repair --without-proof` goes on without the proof"
    )
    key: str
    location: str
    problem: str


@dataclass(kw_only=True, eq=False)
class ObjectLocked(HoldfastError):
    """It is immutable for now; nobody deletes it before the date."""

    code = "object_locked"
    category = Category.CONFLICT
    retry = Retry.LATER
    template = "{key} is immutable until {until}"
    hint = "Nothing was changed. It can be deleted after that time"
    key: str
    until: str
    """RFC 3339, UTC."""


@dataclass(kw_only=True, eq=False)
class LocksUnsupported(HoldfastError):
    code = "locks_unsupported"
    template = "{location} cannot keep objects immutable: {problem}"
    hint = (
        "Use a bucket made with Object Lock, or a folder on ext4, XFS or btrfs, as root; or a "
        "repository that is not immutable"
    )
    location: str
    problem: str


@dataclass(kw_only=True, eq=False)
class ObjectsHidden(HoldfastError):
    """Somebody deleted or overwrote locked objects: they are there, below what was put on them."""

    code = "objects_hidden"
    category = Category.INTEGRITY
    template = "{count} locked objects of {location} were deleted or overwritten by somebody else"
    hint = (
        "Nothing was deleted by this run. Find out who has the credentials and change them, then "
        "bring the objects back with `holdfast repository unhide {location}`"
    )
    location: str
    count: int


@dataclass(kw_only=True, eq=False)
class ClockJumped(HoldfastError):
    code = "clock_jumped"
    retry = Retry.LATER
    template = "the clock of {location} went {hours} hours further than the time that passed"
    hint = (
        "No lock is set or ended until the clock has run steadily for 24 hours. Check "
        "`timedatectl` on that machine"
    )
    location: str
    hours: int


@dataclass(kw_only=True, eq=False)
class ChunkMissing(HoldfastError):
    code = "chunk_missing"
    category = Category.INTEGRITY
    template = "chunk {chunk} is in no pack of the repository"
    hint = "Run `holdfast check` to see which points are affected"
    chunk: str


@dataclass(kw_only=True, eq=False)
class NotARepository(HoldfastError):
    code = "not_a_repository"
    template = "{location} is not a Holdfast repository"
    hint = "Check the path, or make one with `holdfast repository create`"
    location: str


@dataclass(kw_only=True, eq=False)
class RepositoryIncomplete(HoldfastError):
    code = "repository_incomplete"
    retry = Retry.LATER
    template = "{location} looks like a repository but its sentinel is missing"
    hint = (
        "Nothing was changed. Perhaps the storage is not mounted completely: look first, and see "
        "with `holdfast rescue` what is there. If that is all, `holdfast repair --without-proof` "
        "puts the sentinel again. Only a repository whose creation was broken off, "
        "without a single point, may be removed and created again"
    )
    location: str


@dataclass(kw_only=True, eq=False)
class RepositoryTooNew(HoldfastError):
    code = "repository_too_new"
    template = "{location} was written by a newer Holdfast ({problem})"
    hint = "Use that version or a newer one; nothing was changed"
    location: str
    problem: str


@dataclass(kw_only=True, eq=False)
class WrongPassphrase(HoldfastError):
    code = "wrong_passphrase"
    template = "no key slot of {location} opens with this passphrase or recovery key"
    hint = "Check for a wrong file or keyboard layout; the recovery kit opens the repository too"
    location: str


@dataclass(kw_only=True, eq=False)
class KeySlotNotFound(HoldfastError):
    code = "key_slot_not_found"
    category = Category.NOT_FOUND
    template = "{location} has no single key slot {slot!r}"
    hint = "`holdfast key list` shows them; a unique beginning of the id is enough"
    slot: str
    location: str


@dataclass(kw_only=True, eq=False)
class LastKeySlot(HoldfastError):
    code = "last_key_slot"
    category = Category.CONFLICT
    template = "key slot {slot} is the last one that can be opened"
    hint = "Nothing was removed: without it nobody could read the backups. Add another one first"
    slot: str


@dataclass(kw_only=True, eq=False)
class CopyMismatch(HoldfastError):
    """What was copied is not what was read: memory, CPU or a library is faulty."""

    code = "copy_mismatch"
    category = Category.INTEGRITY
    template = "the copy of point {point} differs from it: {problem}"
    hint = "The point was not committed there. Test this machine's memory, then copy again"
    point: str
    problem: str


@dataclass(kw_only=True, eq=False)
class PointNotFound(HoldfastError):
    code = "point_not_found"
    category = Category.NOT_FOUND
    template = "there is no restore point {point!r} in {location}"
    hint = "`holdfast points` lists them; a unique beginning of the id is enough"
    point: str
    location: str


@dataclass(kw_only=True, eq=False)
class PointAmbiguous(HoldfastError):
    code = "point_ambiguous"
    category = Category.USAGE
    template = "{point!r} is the beginning of more than one restore point"
    hint = "Give more of the id: {candidates}"
    point: str
    candidates: str


@dataclass(kw_only=True, eq=False)
class PointHeld(HoldfastError):
    code = "point_held"
    category = Category.CONFLICT
    template = "restore point {point} is held: {reason}"
    hint = "Nothing was deleted. `holdfast release {point}` ends the hold"
    point: str
    reason: str


@dataclass(kw_only=True, eq=False)
class DiskNotFound(HoldfastError):
    code = "disk_not_found"
    category = Category.NOT_FOUND
    template = "restore point {point} has no disk {disk!r}"
    hint = "It has: {known}"
    point: str
    disk: str
    known: str


@dataclass(kw_only=True, eq=False)
class LeaseHeld(HoldfastError):
    code = "already_running"
    category = Category.CONFLICT
    retry = Retry.LATER
    template = "{what} is already being worked on by {holder} since {since}"
    hint = "Wait for it to end; a holder that died is replaced after {ttl_s:.0f} seconds"
    what: str
    holder: str
    since: str
    ttl_s: float


@dataclass(kw_only=True, eq=False)
class LeaseLost(HoldfastError):
    code = "lease_lost"
    retry = Retry.NOW
    template = "{what} was taken over by another process"
    hint = "This run was too slow to prove that it still owned it, and kept nothing; run it again"
    what: str


@dataclass(kw_only=True, eq=False)
class ClockSkew(HoldfastError):
    code = "clock_skew"
    retry = Retry.LATER
    template = "the clocks of this machine and of {location} differ by {skew_s:.0f} seconds"
    hint = "Nothing was deleted. Set the clocks right (NTP), then run it again"
    location: str
    skew_s: float


@dataclass(kw_only=True, eq=False)
class CompactTooLarge(HoldfastError):
    code = "compact_too_large"
    template = "compact would delete {packs} of {all_packs} packs ({size})"
    hint = (
        "Nothing was deleted. If you removed that many points on purpose, allow it with "
        "--max-delete-percent"
    )
    packs: int
    all_packs: int
    size: str


@dataclass(kw_only=True, eq=False)
class PruneTooLarge(HoldfastError):
    code = "prune_too_large"
    template = (
        "prune would delete {points} of {all_points} restore points; at most {maximum} may go"
    )
    hint = (
        "Nothing was deleted. Look at the list that --dry-run prints; if it is what you want, "
        "allow it with --max-delete {points}"
    )
    points: int
    all_points: int
    maximum: int


@dataclass(kw_only=True, eq=False)
class LastGoodPoint(HoldfastError):
    code = "last_good_point"
    category = Category.CONFLICT
    template = "restore point {point} is the last good one of {vm}"
    hint = "Prune never deletes it. Other points were left as they are; plan again"
    point: str
    vm: str


@dataclass(kw_only=True, eq=False)
class ParentVanished(HoldfastError):
    code = "parent_vanished"
    retry = Retry.NOW
    template = "restore point {point} was deleted while a backup built on it"
    hint = "Nothing was kept; run the backup again"
    point: str


@dataclass(kw_only=True, eq=False)
class ChunkCorruptedInMemory(HoldfastError):
    """The check before a pack is stored failed: memory, CPU or a library is faulty."""

    code = "corrupted_in_memory"
    category = Category.INTEGRITY
    template = "data changed in memory between reading and storing ({problem})"
    hint = "Nothing of it was stored. Test this machine's memory before trusting it with backups"
    problem: str
