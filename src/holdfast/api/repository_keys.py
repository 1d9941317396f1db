"""Key slots of a repository that the service has: who may open it besides the service.

The service keeps one secret of each repository, sealed in the catalogue. Whatever happens in here,
that secret, or the one that replaced it, opens the repository afterwards.
"""

from __future__ import annotations

from collections.abc import Callable

from holdfast.api.schemas.repositories import (
    KeySlotInfo,
    KeySlotList,
    PassphraseChanged,
    RecoveryKit,
)
from holdfast.core.clock import Clock, format_time
from holdfast.core.errors import Category, HoldfastError, InvalidInput
from holdfast.repository import Credential, Repository, is_recovery_key
from holdfast.repository.errors import ObjectLocked, WrongPassphrase
from holdfast.repository.format.recovery_kit import new_recovery_key, render_kit


class KeySlotInUse(HoldfastError):
    code = "key_slot_in_use"
    category = Category.CONFLICT
    template = "the service itself opens the repository with this key slot"
    hint = "Change the passphrase instead: the new one takes its place"


def list_slots(repository: Repository, own: Credential) -> KeySlotList:
    """`own` is what the service opens it with. Takes the time of one key derivation a slot of that
    kind."""
    opened = set(repository.key_slots.opened_by(own))
    slots = [
        KeySlotInfo.model_validate(
            {
                "id": slot.id,
                "kind": slot.kind or "unreadable",
                "created_at": slot.created_at,
                "opens_service": slot.id in opened,
            }
        )
        for slot in repository.key_slots.all()
    ]
    return KeySlotList(repository_id=repository.id, slots=slots, total=len(slots))


def new_kit(repository: Repository, clock: Clock) -> RecoveryKit:
    """Older kits stay valid until their slots are removed."""
    key = new_recovery_key()
    slot = repository.key_slots.add(key)
    made_at = format_time(clock.now())
    kit = render_kit(key, repository.config.repository_id, repository.location, made_at)
    return RecoveryKit(slot_id=slot, recovery_kit=kit)


def change_passphrase(
    repository: Repository, current: Credential, new: str, keep: Callable[[], None]
) -> PassphraseChanged:
    """Let `new` open the repository in place of what `current` opens. `keep` has the service keep
    the new one; it is called when that opens the repository, and before the old one ceases to.

    Raises WrongPassphrase when `current` opens no slot and InvalidInput, then nothing was changed;
    LeaseHeld while the repository is being maintained.
    """
    if is_recovery_key(new):
        problem = "it begins like a recovery key and would be taken for one"
        raise InvalidInput(what="new_passphrase", problem=problem)
    slots = repository.key_slots
    with repository.begin_maintenance():
        replaced = slots.opened_by(current)
        if not replaced:
            raise WrongPassphrase(location=repository.location)
        added = slots.add(Credential.passphrase(new))
        # A crash here, or below, leaves the old passphrase opening the repository as well.
        keep()
        removed: list[str] = []
        locked: list[str] = []
        for slot in replaced:
            try:
                removed.append(slots.remove(slot))
            except ObjectLocked:
                locked.append(slot)
    return PassphraseChanged(added=added, removed=removed, still_locked=locked)


def remove_slot(repository: Repository, own: Credential, slot_id: str) -> None:
    """Raises KeySlotInUse, KeySlotNotFound, LastKeySlot, ObjectLocked, LeaseHeld."""
    with repository.begin_maintenance():
        if slot_id in repository.key_slots.opened_by(own):
            raise KeySlotInUse
        repository.key_slots.remove(slot_id)
