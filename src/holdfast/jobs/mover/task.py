"""The order of a mover, as a value and as the document that comes through the pipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import InvalidInput
from holdfast.hypervisors.platforms import PlatformAddress
from holdfast.jobs.mover.events import Reporter
from holdfast.policy.run_states import RunKind
from holdfast.repository import Repository
from holdfast.repository.opening import RepositoryAccess


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One attempt of one run. Its document holds secrets in clear: only through a pipe."""

    kind: RunKind
    run_id: str
    attempt: int
    request: Mapping[str, Any]
    repository: RepositoryAccess | None = None
    other_repository: RepositoryAccess | None = None
    """Where a copy goes, or what a repair takes from."""
    platform: PlatformAddress | None = None
    platform_vm_id: str = ""
    scratch_root: str = ""
    cache_root: str = ""
    restore_root: str = ""
    """Folder for the disks of restored VMs; libvirt's own when empty."""
    keepalive_s: float = 10.0
    """The mover stops when it has heard nothing for so long."""
    stop_s: float = 4.0
    """After being told to stop, it ends at once when it has not ended by then."""
    cancelled: bool = False
    """Only look whether an earlier attempt had done it before it was cancelled."""

    def document(self) -> dict[str, Any]:
        return {
            "kind": self.kind.value,
            "run_id": self.run_id,
            "attempt": self.attempt,
            "request": dict(self.request),
            "repository": self.repository.document() if self.repository else None,
            "other_repository": self.other_repository.document() if self.other_repository else None,
            "platform": asdict(self.platform) if self.platform else None,
            "platform_vm_id": self.platform_vm_id,
            "scratch_root": self.scratch_root,
            "cache_root": self.cache_root,
            "restore_root": self.restore_root,
            "keepalive_s": self.keepalive_s,
            "stop_s": self.stop_s,
            "cancelled": self.cancelled,
        }

    @property
    def secrets(self) -> list[str]:
        found: list[str] = []
        for access in (self.repository, self.other_repository):
            if access is not None:
                found += [access.passphrase, access.s3_secret_key]
        return found


def parse_order(document: Mapping[str, Any]) -> Order:
    def access(name: str) -> RepositoryAccess | None:
        found = cast("Mapping[str, Any] | None", document.get(name))
        return RepositoryAccess(**found) if found else None

    platform = cast("Mapping[str, Any] | None", document.get("platform"))
    values = {
        name: document[name]
        for name in Order.__dataclass_fields__
        if name not in {"kind", "repository", "other_repository", "platform"}
    }
    return Order(
        kind=RunKind(document["kind"]),
        repository=access("repository"),
        other_repository=access("other_repository"),
        platform=PlatformAddress(**platform) if platform else None,
        **values,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What each kind of run is given."""

    order: Order
    cancel: CancelToken
    reporter: Reporter = field(repr=False)

    @property
    def request(self) -> Mapping[str, Any]:
        return self.order.request

    @property
    def is_resumed(self) -> bool:
        """An earlier attempt may have done some of it, or all."""
        return self.order.attempt > 1

    def open_repository(self, *, cached: bool = True) -> Repository:
        return self._open(self.order.repository, "repository", cached=cached)

    def open_other_repository(self) -> Repository:
        return self._open(self.order.other_repository, "other repository", cached=True)

    def _open(self, access: RepositoryAccess | None, what: str, *, cached: bool) -> Repository:
        if access is None:
            raise InvalidInput(what=what, problem="the run names none")
        cache = Path(self.order.cache_root) if cached and self.order.cache_root else None
        return access.open(cache)
