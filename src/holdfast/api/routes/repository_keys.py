"""Who may open a repository without the service: its passphrase and its recovery kits."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from holdfast.api.access import Caller, requires
from holdfast.api.context import Context
from holdfast.api.repository_keys import change_passphrase, list_slots, new_kit, remove_slot
from holdfast.api.schemas.common import Id
from holdfast.api.schemas.repositories import (
    KeySlotList,
    PassphraseBody,
    PassphraseChanged,
    RecoveryKit,
)
from holdfast.api.secrets import (
    RepositorySecret,
    credential_of,
    repository_secret,
    seal_repository_secret,
)
from holdfast.catalog import repositories
from holdfast.catalog.audit import record
from holdfast.catalog.models import Repository as RepositoryRow
from holdfast.catalog.notices import announce
from holdfast.policy.access import Permission

router = APIRouter(prefix="/repositories", tags=["repository keys"])
RepositoryId = Annotated[str, Path(max_length=100)]
_MANAGE = [requires(Permission.REPOSITORY_MANAGE, everywhere=True)]


@router.get("/{repository_id}/keys", dependencies=_MANAGE)
def list_key_slots(repository_id: RepositoryId, context: Context) -> KeySlotList:
    """What opens the repository, oldest first. No secret is in the answer."""
    row = _row(context, repository_id)
    own = repository_secret(context.sealing, row).credential
    return list_slots(context.repositories.get(row), own)


@router.post("/{repository_id}/keys/recovery-kit", status_code=201, dependencies=_MANAGE)
def add_recovery_kit(repository_id: RepositoryId, context: Context, caller: Caller) -> RecoveryKit:
    """Make a further recovery kit. It is in this answer and nowhere else; older ones stay valid."""
    row = _row(context, repository_id)
    kit = new_kit(context.repositories.get(row), context.clock)
    _record(context, caller, repository_id, "recovery_kit", {"slot": kit.slot_id})
    return kit


@router.put("/{repository_id}/passphrase", dependencies=_MANAGE)
def change_repository_passphrase(
    repository_id: RepositoryId, body: PassphraseBody, context: Context, caller: Caller
) -> PassphraseChanged:
    """Replace the passphrase. The new one works, and the service keeps it, before the old one
    ceases to; no stored data is rewritten. Recovery kits stay valid."""
    row = _row(context, repository_id)
    current = credential_of(body.current_passphrase.get_secret_value())
    new = body.new_passphrase.get_secret_value()
    kept = repository_secret(context.sealing, row)
    secret = RepositorySecret(passphrase=new, s3_secret_key=kept.s3_secret_key)
    sealed = seal_repository_secret(context.sealing, repository_id, secret)

    def keep() -> None:
        with context.database.writing() as session:
            found = repositories.find_repository(session, repository_id)
            found.sealed_secret = sealed
            announce(session, "repository", repository_id, "changed", clock=context.clock)

    changed = change_passphrase(context.repositories.open_anew(row), current, new, keep)
    context.repositories.drop(repository_id)
    details: dict[str, object] = {"added": changed.added, "removed": changed.removed}
    _record(context, caller, repository_id, "passphrase", details)
    return changed


@router.delete("/{repository_id}/keys/{slot_id}", status_code=204, dependencies=_MANAGE)
def remove_key_slot(
    repository_id: RepositoryId,
    slot_id: Annotated[Id, Path()],
    context: Context,
    caller: Caller,
) -> None:
    """End a passphrase or a recovery kit, but neither the last one nor the one that the service
    itself uses. Who copied the repository before can still open that copy with it."""
    row = _row(context, repository_id)
    own = repository_secret(context.sealing, row).credential
    remove_slot(context.repositories.open_anew(row), own, slot_id)
    _record(context, caller, repository_id, "key_removed", {"slot": slot_id})


def _row(context: Context, repository_id: str) -> RepositoryRow:
    with context.database.reading() as session:
        row = repositories.find_repository(session, repository_id)
        session.expunge(row)
        return row


def _record(
    context: Context, caller: Caller, repository_id: str, what: str, details: dict[str, object]
) -> None:
    with context.database.writing() as session:
        record(
            session,
            caller,
            f"repository.{what}",
            clock=context.clock,
            object_kind="repository",
            object_id=repository_id,
            details=details,
        )
