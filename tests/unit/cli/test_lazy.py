"""Commands are imported when they are run, and each can be."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from holdfast.cli.main import Commands

_HEAVY = {"libvirt", "fastapi", "uvicorn", "sqlalchemy", "obstore", "dissect"}
"""What only some commands need."""


@pytest.mark.parametrize("where", Commands.commands_by_name.values(), ids=str)
def test_each_command_is_where_the_table_says(where: str) -> None:
    module, _, attribute = where.partition(":")
    assert callable(getattr(import_module(module), attribute))


def test_listing_points_imports_no_server(tmp_path: Path) -> None:
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("correct horse")
    passphrase.chmod(0o600)
    code = """
import sys
from holdfast.cli.main import app
from holdfast.core.errors import HoldfastError
try:
    app(["points", "--repository", sys.argv[1]], standalone_mode=False)
except HoldfastError as error:
    assert error.code == "not_a_repository", repr(error)
print(" ".join({name.partition(".")[0] for name in sys.modules}))
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    environment = {**os.environ, "HOLDFAST_PASSPHRASE_FILE": str(passphrase)}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert done.returncode == 0
    assert not _HEAVY & set(done.stdout.split())
