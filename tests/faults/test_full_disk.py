"""Restores where the target's storage is full or breaks (T5, T6): complete, or refused with
nothing left."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from holdfast.core.errors import HoldfastError
from holdfast.core.units import KIB, MIB
from holdfast.restore.targets import new_target
from tests.faults.operations import Ground
from tests.support.system_calls import require_strace

_STEP_KIB = 16
_DISK = "b.qcow2"


@contextmanager
def small_folder(folder: Path, size_kib: int) -> Generator[Path]:
    """A file system of that size, gone at the end."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a tmpfs")
    folder.mkdir()
    options = f"size={size_kib}k,mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize(
    ("format", "sizes_kib"),
    [("raw", range(32, 160, 2 * _STEP_KIB)), ("qcow2", range(2 * _STEP_KIB, 448, 3 * _STEP_KIB))],
)
def test_a_disk_is_restored_where_space_runs_out(
    ground: Ground, tmp_path: Path, format: str, sizes_kib: range
) -> None:
    complete: list[int] = []
    for size_kib in sizes_kib:
        with small_folder(tmp_path / f"{size_kib}", size_kib) as folder:
            if restore(ground, folder / f"restored.{format}", format):
                complete.append(size_kib)
    print(f"complete with {complete} KiB of {sizes_kib}")
    assert complete and complete[0] > sizes_kib[0], "the sizes do not cover the last byte"


def restore(ground: Ground, output: Path, format: str) -> bool:
    """Whether the disk was restored; if so it is right, otherwise nothing is left of it."""
    arguments: list[str | Path] = ["restore", ground.second_point, "--disk", _DISK]
    arguments += ["--repository", ground.folder / "two", "--output", output]
    finished = ground.command.run(*arguments)
    if finished.status == 0:
        plain = output.parent.with_name("plain")
        convert = ["qemu-img", "convert", "-f", format, "-O", "raw", output, plain]
        subprocess.run(convert, check=True, timeout=60)
        assert plain.read_bytes() == ground.second[_DISK]
        return True
    assert "Traceback" not in finished.stderr
    assert finished.error_code in {"out_of_space", "target_unavailable", "tool_failed"}
    assert not list(output.parent.iterdir())
    return False


@contextmanager
def failing_writes() -> Generator[None]:
    """From now on every write of our `qemu-nbd` to its image fails, until it ends."""
    children = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    pids = [pid for path in children for pid in path.read_text().split()]
    (server,) = [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text() == "qemu-nbd\n"]
    calls = "pwrite64,pwritev,fallocate"
    strace = subprocess.Popen(
        ["strace", "-f", "-e", f"trace={calls}", "-e", f"inject={calls}:error=EIO", "-p", server],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert strace.stderr is not None
    assert "attached" in strace.stderr.readline()
    try:
        yield
    finally:
        assert "(INJECTED)" in strace.communicate(timeout=60)[1]


def test_tables_that_cannot_be_written_are_noticed(tmp_path: Path) -> None:
    """Those of qcow2 are written last, when no write waits for an answer; vmdk's at once."""
    require_strace()
    with (
        ExitStack() as faults,
        pytest.raises(HoldfastError) as caught,
        new_target(tmp_path / "restored.qcow2", "qcow2", MIB) as target,
    ):
        with closing(target.open_writer()) as writer:
            writer.write(0, memoryview(b"x" * 64 * KIB))
        faults.enter_context(failing_writes())
    assert caught.value.code in {"target_write_failed", "tool_failed"}
    assert not list(tmp_path.iterdir())
