"""A whole object in place of a damaged one, which stays under a name that says so.

What is damaged may be all that is left of something: it is kept before anything replaces it, and
nobody deletes it by himself. Enter at `put_in_place`.
"""

from __future__ import annotations

from contextlib import suppress

from blake3 import blake3

from holdfast.core.failpoints import failpoint
from holdfast.repository.errors import ObjectDamaged, ObjectExists, ObjectLocked, ObjectMissing
from holdfast.repository.store.store import ObjectStore

FOLDER = "damaged/"


def put_in_place(store: ObjectStore, key: str, damaged: bytes, whole: bytes) -> None:
    """Durable on return, both. At every moment the object has the damaged bytes or the whole ones.

    Raises ObjectLocked, ObjectMissing, and ObjectExists when it has other bytes than `damaged` by
    now; then it is as it was.
    """
    aside = f"{FOLDER}{key}/{blake3(damaged).hexdigest()}"
    is_new = True
    try:
        store.put_new(aside, [damaged])
    except ObjectExists:
        is_new = False  # named by the hash of its bytes: it is this one
        if store.get(aside) != damaged:
            raise ObjectDamaged(key=aside, problem="it is not what was set aside") from None
    failpoint("mending.after_set_aside")
    # A crash here leaves the damaged object, and a copy of it.
    try:
        store.replace_damaged(key, damaged, [whole])
    except (ObjectLocked, ObjectMissing):
        if is_new:
            with suppress(ObjectMissing):
                store.delete(aside)
        raise
