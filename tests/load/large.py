"""A service with a large catalogue. Enter at `open_scale`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from holdfast.catalog.database import Database
from tests.load.catalogue import Size, fill
from tests.support.running_service import RunningService, run_service
from tests.support.service_lab import ServiceLab, furnish, sign_in


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    service: RunningService
    lab: ServiceLab


@contextmanager
def open_scale(folder: Path, size: Size) -> Generator[Scale]:
    """The service on a catalogue of that size. What `folder` has already is not made again."""
    state = folder / "state"
    environment = {"HOLDFAST_LOG_LEVEL": "info"}
    with run_service(state, environment=environment) as service:
        lab = furnish(service, folder, {"small": 4096})
        service.stop()
    database = Database.open(f"sqlite:///{state}/holdfast.db")
    fill(database, size, platform_id=lab.platform_id, repository_id=lab.repository_id)
    database.close()
    with run_service(state, environment=environment) as service:
        lab.http.base_url = service.url
        lab.http.headers["Origin"] = service.url
        sign_in(lab.http)
        yield Scale(service=service, lab=lab)
        service.stop()
