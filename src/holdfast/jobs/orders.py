"""From a run's row to the order for its mover: the one place where a run, the rows it names and
their secrets come together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from sqlalchemy.orm import Session

from holdfast.catalog.models import Platform, Repository, Run, VirtualMachine
from holdfast.catalog.repository_secrets import repository_access
from holdfast.catalog.resources import other_repository_of
from holdfast.hypervisors.platforms import PlatformAddress, PlatformKind
from holdfast.jobs.errors import GoneFromCatalogue
from holdfast.jobs.mover.task import Order
from holdfast.jobs.secrets import SecretSource
from holdfast.policy.run_states import RunKind
from holdfast.repository.opening import RepositoryAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class MoverSettings:
    """What movers of this host need beside their runs."""

    scratch_root: Path
    cache_root: Path
    restore_root: Path | None = None
    """Folder for the disks of restored VMs; libvirt's own when None."""
    keepalive_s: float = 8.0
    stop_s: float = 2.5
    """Within this a mover told to stop has ended."""


def build_order(
    session: Session, run: Run, secrets: SecretSource, settings: MoverSettings
) -> Order:
    """Raises GoneFromCatalogue, and what opening a secret raises."""
    kind = RunKind(run.kind)
    other_id = other_repository_of(run)
    other = None if other_id is None else _access(session, other_id, secrets)
    return Order(
        kind=kind,
        run_id=run.id,
        attempt=run.attempt,
        request=run.request,
        repository=_access(session, run.repository_id, secrets),
        other_repository=other,
        platform=_platform(session, run, kind),
        platform_vm_id=_platform_vm_id(session, run) if kind is RunKind.BACKUP else "",
        scratch_root=str(settings.scratch_root),
        cache_root=str(settings.cache_root),
        restore_root=str(settings.restore_root or ""),
        keepalive_s=settings.keepalive_s,
        stop_s=settings.stop_s,
        cancelled=run.cancel_requested_at is not None,
    )


def _access(session: Session, repository_id: str | None, secrets: SecretSource) -> RepositoryAccess:
    row = session.get(Repository, repository_id) if repository_id else None
    if row is None:
        raise GoneFromCatalogue(what="repository")
    return repository_access(row, secrets.repository(row))


def _platform(session: Session, run: Run, kind: RunKind) -> PlatformAddress | None:
    if kind not in {RunKind.BACKUP, RunKind.RESTORE_VM}:
        return None
    row = session.get(Platform, run.platform_id) if run.platform_id else None
    if row is None:
        raise GoneFromCatalogue(what="platform")
    return PlatformAddress(
        kind=cast("PlatformKind", row.kind),
        uri=str(row.settings.get("uri", "")),
        path=str(row.settings.get("path", "")),
    )


def _platform_vm_id(session: Session, run: Run) -> str:
    row = session.get(VirtualMachine, run.vm_id) if run.vm_id else None
    if row is None:
        raise GoneFromCatalogue(what="VM")
    return row.platform_vm_id
