"""The benchmark runs through on a small disk, ours alone, and its parts measure what they say."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from holdfast.core.units import MIB
from tests.benchmarks import __main__ as program
from tests.benchmarks.measuring import Command, CommandFailed, measure
from tests.benchmarks.source_disk import CHANGED_RANGE_BYTES, changed_ranges


def _python(code: str) -> Command:
    return Command(arguments=[sys.executable, "-c", code])


def test_descendants_count_even_when_they_left_their_parent() -> None:
    burn = "import time\nblob = b'x' * (64 << 20)\nwhile time.process_time() < 0.4: pass"
    leave = (
        "import os, sys\n"
        "if os.fork(): os._exit(os.waitpid(-1, 0)[1])\n"
        "read, write = os.pipe()\n"
        "if os.fork(): os.close(write); os.read(read, 1); os._exit(0)\n"
        "os.close(read); os.setsid()\n"
    )
    plain = measure(_python("pass"), cold=False)
    daemon = measure(_python(leave + burn), cold=False)
    assert daemon.cpu_s > plain.cpu_s + 0.3
    assert daemon.wall_s >= 0.4
    assert 64 * MIB < daemon.peak_bytes < 160 * MIB
    assert plain.peak_bytes < 32 * MIB


def test_a_failing_tool_ends_the_benchmark() -> None:
    with pytest.raises(CommandFailed, match="no such repository"):
        measure(_python("raise SystemExit('no such repository')"), cold=False)


def test_changed_ranges_are_a_share_of_the_disk_and_repeatable() -> None:
    offsets = changed_ranges(1024 * MIB, 0.01, 7)
    assert offsets == changed_ranges(1024 * MIB, 0.01, 7)
    assert len(set(offsets)) == round(1024 * MIB / CHANGED_RANGE_BYTES * 0.01)
    assert all(offset % CHANGED_RANGE_BYTES == 0 for offset in offsets)


def test_ours_on_a_small_disk(tmp_path: Path) -> None:
    if shutil.which("mkfs.ext4", path="/usr/sbin:/sbin") is None:
        pytest.skip("mkfs.ext4 is not installed")
    report = tmp_path / "report.json"
    roots = ["/usr/lib/python3.11", "/usr/share/doc"]
    arguments = ["--work", str(tmp_path / "work"), "--size", "64", "--repeat", "1", "--warm"]
    arguments += [
        "--rounds",
        "image",
        "maintenance",
        "--profile",
        "--json",
        str(report),
        "--only",
        "holdfast",
    ]
    assert program.main([*arguments, "--roots", *roots]) == 0
    document = json.loads(report.read_text())
    found = {(row["phase"], row["tool"]): row for row in document["results"]}
    assert found["full backup of the image", "holdfast"]["note"] == "full"
    assert found["second backup, nothing changed", "holdfast"]["note"] == "compare"
    assert ("files ls of a point", "holdfast /disk.raw") in found
    held = {bar["what"]: bar["held"] for bar in document["bars"]}
    assert held["restore: time against restic"] is None
    assert held["restore: the same until it is durable"] is None
    assert held["peak memory of any run"] is True
    assert {item.name for item in (tmp_path / "work").iterdir() if item.is_dir()} == set()
