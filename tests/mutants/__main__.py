"""Tests of the tests: applies each seeded bug to a copy of the tree and expects red.

    python -m tests.mutants [NAME ...]

`manifest.toml` names for each patch the tests of which at least one must fail. A patch that does
not apply is as bad as a survivor; the others are judged all the same. A test that fails without any
patch ends in an error: then nothing is known.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_ROOT = _HERE.parent.parent
_PYTEST_GREEN, _PYTEST_RED = 0, 1
_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    name: str
    what: str
    tests: Sequence[str]


class RunnerFailed(Exception):
    """The score means nothing."""


def main(names: Sequence[str]) -> int:
    mutants = [mutant for mutant in _manifest() if not names or mutant.name in names]
    survivors: list[Mutant] = []
    with tempfile.TemporaryDirectory(prefix="holdfast-mutants-") as folder:
        tree = Path(folder, "tree")
        _copy(tree)
        if _run(tree, _all_tests(mutants)) != _PYTEST_GREEN:
            raise RunnerFailed("the tests do not pass without any mutant")
        for mutant in mutants:
            started = time.monotonic()
            if problem := _patch(tree, mutant):
                survivors.append(mutant)
                print(f" NO PATCH          {mutant.name}: {problem}", flush=True)
                continue
            result = _run(tree, mutant.tests)
            if problem := _patch(tree, mutant, "--reverse"):
                raise RunnerFailed(f"{mutant.name} cannot be taken back: {problem}")
            if result not in {_PYTEST_GREEN, _PYTEST_RED}:
                raise RunnerFailed(f"{mutant.name}: pytest ended with {result}")
            if result == _PYTEST_GREEN:
                survivors.append(mutant)
            verdict = "caught" if result == _PYTEST_RED else "SURVIVED"
            duration = time.monotonic() - started
            print(f"{verdict:>8}  {duration:5.1f} s  {mutant.name}: {mutant.what}", flush=True)
    print(f"{len(mutants) - len(survivors)} of {len(mutants)} seeded bugs caught")
    return 1 if survivors else 0


def _manifest() -> list[Mutant]:
    entries = tomllib.loads((_HERE / "manifest.toml").read_text())
    patches = {path.stem for path in _HERE.glob("*.patch")}
    if patches != set(entries):
        odd = ", ".join(sorted(patches ^ set(entries)))
        raise RunnerFailed(f"in the manifest or in the folder only: {odd}")
    return [
        Mutant(name=name, what=entry["what"], tests=tuple(entry["tests"]))
        for name, entry in entries.items()
    ]


def _copy(tree: Path) -> None:
    tree.mkdir()
    left_out = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for name in ("src", "tests"):
        shutil.copytree(_ROOT / name, tree / name, ignore=left_out)
    shutil.copy(_ROOT / "pyproject.toml", tree)


def _patch(tree: Path, mutant: Mutant, *options: str) -> str:
    """Why it does not apply; empty when it was applied."""
    command = ["git", "apply", *options, str(_HERE / f"{mutant.name}.patch")]
    applied = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    return applied.stderr.strip() if applied.returncode != 0 else ""


def _all_tests(mutants: Iterable[Mutant]) -> list[str]:
    return sorted({test for mutant in mutants for test in mutant.tests})


def _run(tree: Path, tests: Sequence[str]) -> int:
    """The exit code of pytest. Sources are those of the tree, not the installed ones."""
    command = [sys.executable, "-B", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += ["-o", f"pythonpath={tree / 'src'}", f"--basetemp={tree.parent / 'work'}", *tests]
    done = subprocess.run(
        command, cwd=tree, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
    )
    if done.returncode not in {_PYTEST_GREEN, _PYTEST_RED}:
        print(done.stdout[-2000:], done.stderr[-2000:], sep="\n", file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except RunnerFailed as error:
        sys.exit(f"the mutants could not be judged: {error}")
