"""A seeded bug whose patch no longer applies proves nothing: whoever changes the lines it changes
hears of it at once. Whether the tests catch it takes `make mutants`."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
_PATCHES = sorted(_HERE.glob("*.patch"))


@pytest.mark.parametrize("patch", _PATCHES, ids=lambda patch: patch.stem)
def test_applies(patch: Path) -> None:
    done = subprocess.run(
        ["git", "apply", "--check", str(patch)],
        cwd=_HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_each_is_in_the_manifest() -> None:
    assert {patch.stem for patch in _PATCHES} == set(
        tomllib.loads((_HERE / "manifest.toml").read_text())
    )
