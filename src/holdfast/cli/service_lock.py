"""Whether the service runs on this host: it holds a lock that maintenance of its secrets must not
meet."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from holdfast.catalog.database import make_state_folder
from holdfast.core.errors import Category, HoldfastError


@dataclass(kw_only=True, eq=False)
class ServiceRuns(HoldfastError):
    code = "service_runs"
    category = Category.CONFLICT
    template = "the service runs with the state in {state_root}"
    hint = "Stop it (and its workers) first, then start it again afterwards"
    state_root: str


@contextmanager
def serving(state_root: Path) -> Generator[None]:
    """Several may serve at once; none while `alone` is held. Raises ServiceRuns."""
    with _lock(state_root, fcntl.LOCK_SH):
        yield


@contextmanager
def alone(state_root: Path) -> Generator[None]:
    """Raises ServiceRuns."""
    with _lock(state_root, fcntl.LOCK_EX):
        yield


@contextmanager
def _lock(state_root: Path, kind: int) -> Generator[None]:
    make_state_folder(state_root)
    descriptor = os.open(state_root / "serving.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "a") as file:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ServiceRuns(state_root=str(state_root)) from error
        yield
