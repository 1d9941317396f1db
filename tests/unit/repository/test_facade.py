"""What `holdfast.repository` exports is there although it is imported late, and the key is derived
before the rest of it."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import holdfast.repository


def test_everything_exported_is_there() -> None:
    for name in holdfast.repository.__all__:
        assert getattr(holdfast.repository, name) is not None
    modules = import_module("holdfast.repository")
    assert sorted(vars(modules)["_MODULES"]) == sorted(holdfast.repository.__all__)


def test_other_names_are_errors() -> None:
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = getattr(holdfast.repository, "nothing_of_that_name")  # noqa: B009


def test_what_unlocks_does_not_wait_for_the_rest() -> None:
    """The import of numpy alone takes a third of the time of the derivation."""
    program = (
        "import sys, holdfast.cli.opening, holdfast.repository.unlocking as unlocking\n"
        "late = {'numpy', 'holdfast.repository.repository', 'obstore'} & set(sys.modules)\n"
        "sys.exit(str(late) if late else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
