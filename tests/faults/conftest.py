"""How many trials: HOLDFAST_TEST_KILLS sets the number of kills (60 in a default run), and the
number of failing calls is a third of it. HOLDFAST_TEST_SEED chooses other moments."""

from __future__ import annotations

import os

import pytest

from tests.faults.maintenance_operations import MAINTENANCE
from tests.faults.operations import OPERATIONS, Ground
from tests.support.system_calls import require_strace

_DEFAULT_KILLS = 60


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "moment" not in metafunc.fixturenames:
        return
    trials = int(os.environ.get("HOLDFAST_TEST_KILLS", _DEFAULT_KILLS))
    if metafunc.function.__name__ == "test_a_call_that_fails":
        trials //= 3
    operations = (*OPERATIONS, *MAINTENANCE)
    whole = sum(operation.share for operation in operations)
    values: list[object] = []
    for operation in operations:
        count = max(1, round(trials * operation.share / whole))
        values += [
            pytest.param(operation, (number, count), id=f"{operation.name}-{number}")
            for number in range(count)
        ]
    metafunc.parametrize(("operation", "moment"), values)


@pytest.fixture(scope="session")
def seed() -> str:
    return os.environ.get("HOLDFAST_TEST_SEED", "1")


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    require_strace()
    return Ground(tmp_path_factory.mktemp("ground"))
