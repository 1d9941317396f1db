"""What routes work with, put together once at the start and reachable as the dependency
`Context`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from holdfast.api.access.passwords import PasswordHasher
from holdfast.api.events import Events
from holdfast.api.guest_mounts import GuestMounts
from holdfast.api.host_load import HostLoadMeter
from holdfast.api.opened_repositories import OpenedRepositories
from holdfast.api.unique_bytes import UniqueBytes
from holdfast.catalog.database import Database
from holdfast.catalog.sealing import Sealing
from holdfast.core.clock import Clock
from holdfast.settings import ServiceSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceContext:
    database: Database
    settings: ServiceSettings
    clock: Clock
    sealing: Sealing
    events: Events
    passwords: PasswordHasher
    repositories: OpenedRepositories
    mounts: GuestMounts
    load: HostLoadMeter
    unique: UniqueBytes


def build_context(
    settings: ServiceSettings, database: Database, sealing: Sealing, clock: Clock
) -> ServiceContext:
    opened = OpenedRepositories(sealing, cache_root=settings.cache_root)
    return ServiceContext(
        database=database,
        settings=settings,
        clock=clock,
        sealing=sealing,
        events=Events(database, clock),
        passwords=PasswordHasher(),
        repositories=opened,
        mounts=GuestMounts(),
        load=HostLoadMeter(clock),
        unique=UniqueBytes(opened, clock),
    )


def service_context(request: Request) -> ServiceContext:
    return cast("ServiceContext", request.app.state.context)


Context = Annotated[ServiceContext, Depends(service_context)]
