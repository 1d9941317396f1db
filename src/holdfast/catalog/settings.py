"""Settings that are changed at run time: one JSON document by key. Secrets in them are sealed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.orm import Session

from holdfast.catalog.models import Setting
from holdfast.core.clock import Clock


def read_setting(session: Session, key: str) -> dict[str, Any]:
    """Empty when it was never set."""
    row = session.get(Setting, key)
    return dict(row.value) if row is not None else {}


def write_setting(session: Session, key: str, value: Mapping[str, Any], clock: Clock) -> None:
    session.merge(Setting(key=key, value=dict(value), changed_at=clock.now()))
