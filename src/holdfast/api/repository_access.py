"""Adding a repository, looking at it, measuring it: what the routes do with the storage itself."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from holdfast.api.context import ServiceContext
from holdfast.api.schemas.repositories import RepositoryTarget, RepositoryTest
from holdfast.api.secrets import RepositorySecret, credential_of, store_options
from holdfast.catalog import repositories
from holdfast.catalog.errors import NotInCatalogue
from holdfast.catalog.inventory import of_visible_vms
from holdfast.catalog.looks import disk_space, known_locks, look_at, record_look
from holdfast.catalog.models import Repository as RepositoryRow
from holdfast.catalog.models import RestorePoint, Run
from holdfast.catalog.notices import announce
from holdfast.catalog.points import find_point
from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.policy.access import VmScope
from holdfast.policy.run_states import RunKind, RunState
from holdfast.repository import (
    LocalStore,
    Repository,
    StoreOptions,
    is_s3_url,
    new_store,
    open_store,
    read_config,
)
from holdfast.repository.canary import test_immutability
from holdfast.repository.errors import NotARepository
from holdfast.repository.format.immutability import Immutability
from holdfast.repository.store.store import ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a repository is or shall be, checked."""

    location: str
    settings: dict[str, object]
    s3_secret_key: str

    def options(self, context: ServiceContext) -> StoreOptions:
        cache = str(context.settings.cache_root)
        return store_options(self.settings, self.s3_secret_key, cache)


def checked_target(body: RepositoryTarget) -> Target:
    """Raises InvalidInput."""
    if is_s3_url(body.location):
        if body.s3 is None or body.s3.secret_access_key is None:
            raise InvalidInput(what="repository", problem="a bucket needs its S3 credentials")
        settings: dict[str, object] = {
            "endpoint": body.s3.endpoint,
            "region": body.s3.region,
            "access_key_id": body.s3.access_key_id,
            "allow_http": body.s3.allow_http,
        }
        secret = body.s3.secret_access_key.get_secret_value()
        return Target(location=body.location.rstrip("/"), settings=settings, s3_secret_key=secret)
    if body.s3 is not None:
        raise InvalidInput(what="repository", problem="S3 credentials go with an s3:// location")
    if not body.location.startswith("/") or "\0" in body.location:
        raise InvalidInput(what="repository", problem="write the folder as an absolute path")
    return Target(location=os.path.normpath(body.location), settings={}, s3_secret_key="")


def try_target(target: Target, context: ServiceContext) -> RepositoryTest:
    """What is at a location, without leaving anything there."""
    try:
        store = open_store(target.location, target.options(context))
        read_config(store)
    except NotARepository:
        return _try_empty(target, context)
    except HoldfastError as error:
        return RepositoryTest(ok=False, exists=False, message=error.message, hint=error.advice)
    total, available = disk_space(target.location)
    return RepositoryTest(
        ok=True,
        exists=True,
        message="a repository is there; it can be added with its passphrase",
        total_bytes=total,
        available_bytes=available,
    )


def _try_empty(target: Target, context: ServiceContext) -> RepositoryTest:
    place = Path(target.location)
    if is_s3_url(target.location):
        try:
            new_store(target.location, target.options(context))
        except HoldfastError as error:
            return RepositoryTest(ok=False, exists=False, message=error.message, hint=error.advice)
    else:
        if place.is_dir() and any(place.iterdir()):
            return RepositoryTest(
                ok=False,
                exists=False,
                message=f"{place} is not empty and holds no repository",
                hint="Choose an empty or new folder",
            )
        parent = next(folder for folder in (place, *place.parents) if folder.is_dir())
        if not os.access(parent, os.W_OK):
            return RepositoryTest(
                ok=False,
                exists=False,
                message=f"{parent} cannot be written to",
                hint="Give the service's user the right to write there",
            )
    total, available = disk_space(target.location)
    return RepositoryTest(
        ok=True,
        exists=False,
        message="a new repository can be made there",
        total_bytes=total,
        available_bytes=available,
    )


def create_or_open(
    target: Target,
    mode: str,
    secret: RepositorySecret,
    context: ServiceContext,
    *,
    rule: Immutability | None = None,
) -> tuple[Repository, str | None]:
    """The repository, and its recovery kit when it was made now. Raises what creating or opening
    raises; a repository that was made stays when what follows fails, and can be added by `open`."""
    credential = credential_of(secret.passphrase)
    if mode == "create":
        store: ObjectStore = new_store(target.location, target.options(context))
        made = Repository.create(store, credential, immutability=rule)
        if isinstance(store, LocalStore):
            store.keep_reserve()
        if rule is not None:
            test_immutability(made[0])
        return made
    store = open_store(target.location, target.options(context))
    return Repository.open(store, credential), None


def refresh(context: ServiceContext, repository_id: str) -> int:
    """Read all points again and measure; how many points there are. Raises what opening raises,
    after the repository was noted as offline."""
    with context.database.reading() as session:
        row = repositories.find_repository(session, repository_id)
        known = known_locks(session, repository_id, context.clock.now())
    try:
        look = look_at(context.repositories.get(row), known=known)
    except HoldfastError as error:
        with context.database.writing() as session:
            found = repositories.find_repository(session, repository_id)
            repositories.record_offline(found, error.message, context.clock)
            announce(session, "repository", repository_id, "changed", clock=context.clock)
        raise
    with context.database.writing() as session:
        found = repositories.find_repository(session, repository_id)
        done = record_look(session, found, look, context.clock)
        announce(session, "repository", repository_id, "changed", clock=context.clock)
    return done.total


def find_point_now(
    context: ServiceContext, scope: VmScope, backup_id: str
) -> tuple[RestorePoint, RepositoryRow]:
    """The restore point of a backup, read from the repository when the run has just ended and its
    point is not recorded yet. Raises NotInCatalogue."""
    try:
        with context.database.reading() as session:
            return find_point(session, scope, backup_id)
    except NotInCatalogue:
        with context.database.reading() as session:
            repository_id = session.scalar(
                select(Run.repository_id).where(
                    Run.id == backup_id,
                    Run.state == RunState.COMPLETED.value,
                    Run.kind == RunKind.BACKUP.value,
                    Run.deleted_at.is_(None),
                    of_visible_vms(Run.vm_id, scope),
                )
            )
        if repository_id is None:
            raise
    refresh(context, repository_id)
    with context.database.reading() as session:
        return find_point(session, scope, backup_id)
