"""The checkpoint belongs to the point: it moves on only when the point exists."""

from __future__ import annotations

import pytest

from holdfast.capture.plan import CaptureMode
from holdfast.core.errors import OutOfSpace
from tests.support.engine import Engine
from tests.support.memory_store import FaultyStore, MemoryStore


def test_a_commit_that_fails_costs_no_full_read() -> None:
    def refuse(operation: str, key: str) -> None:
        if operation == "put_new" and key.startswith("points/"):
            raise OutOfSpace(location="memory")

    store = FaultyStore(MemoryStore())
    engine = Engine.create(store)
    engine.back_up()
    store.before = refuse
    with pytest.raises(OutOfSpace):
        engine.back_up()
    store.before = None
    (plan,) = engine.back_up().plans
    assert plan.mode is CaptureMode.CHANGED
