"""Rounds over a running VM: full, incremental after the same writes, restore; ours against
virtnbdbackup.

Two VMs with equal disks, because virtnbdbackup refuses a VM that has checkpoints of anyone else.
Both are paused and have no operating system: writes go through QEMU's monitor, so that both tools
find the same changes. Enter at `run_vm_round`.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.benchmarks.image_rounds import (
    CHANGED_SHARE,
    Conditions,
    WrongResult,
    captured_as,
    turned,
)
from tests.benchmarks.measuring import Command, measure
from tests.benchmarks.results import Phase, Results, Sample
from tests.benchmarks.source_disk import changed_content, changed_ranges
from tests.benchmarks.tools import Holdfast, stored_bytes
from tests.support.guestless import GuestlessDisk, GuestlessVm, guestless_vm

VIRTNBDBACKUP = "virtnbdbackup"
_CONVERT_TIMEOUT_S = 600
_DISK = "vda"


class VmTool(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def stored(self) -> Path: ...

    def prepare(self) -> None: ...

    def backup(self, vm: str, *, incremental: bool) -> Command: ...

    def check(self, *, incremental: bool) -> str:
        """How the last backup was captured; raises WrongResult when not as asked."""
        ...

    def restore(self, target: Path) -> tuple[Command, str]:
        """Bring the newest backup back below the empty folder; the format it will have."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldfastVm:
    inner: Holdfast

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def stored(self) -> Path:
        return self.inner.stored

    def prepare(self) -> None:
        self.inner.prepare()

    def backup(self, vm: str, *, incremental: bool) -> Command:
        return self.inner.on_repository("backup", f"libvirt:qemu:///system/{vm}", "--json")

    def check(self, *, incremental: bool) -> str:
        return captured_as(self.inner, "changed" if incremental else "full")

    def restore(self, target: Path) -> tuple[Command, str]:
        output = str(target / "disk.raw")
        command = self.inner.on_repository("restore", "latest", "--disk", _DISK, "--output", output)
        return command, "raw"


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtNbdBackup:
    """As installed: no compression (its `-z` is lz4), no encryption."""

    folder: Path
    name: str = VIRTNBDBACKUP

    @property
    def stored(self) -> Path:
        return self.folder / "backup"

    def prepare(self) -> None:
        self.folder.mkdir(mode=0o700)

    def backup(self, vm: str, *, incremental: bool) -> Command:
        level = "inc" if incremental else "full"
        return self._command("virtnbdbackup", "-d", vm, "-l", level, "-o", self.stored)

    def check(self, *, incremental: bool) -> str:
        level = "inc" if incremental else "full"
        if not list(self.stored.glob(f"{_DISK}.{level}*.data")):
            raise WrongResult(f"virtnbdbackup made no {level} backup")
        return level

    def restore(self, target: Path) -> tuple[Command, str]:
        return self._command("virtnbdrestore", "-i", self.stored, "-o", target), "qcow2"

    def _command(self, *arguments: str | Path) -> Command:
        environment = {"HOME": str(self.folder)}
        texts = [str(argument) for argument in arguments]
        return Command(arguments=texts, environment=environment, folder=self.folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """A tool and the VM that it backs up."""

    tool: VmTool
    vm: GuestlessVm
    disk: Path


def run_vm_round(number: int, with_peer: bool, conditions: Conditions, results: Results) -> None:
    """One round. Leaves nothing behind. Needs root, libvirt and QEMU. Raises CommandFailed,
    WrongResult, and libvirt's errors."""
    folder = conditions.work / "vm-round"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o711)
    try:
        with ExitStack() as stack:
            _Round(number, with_peer, conditions, results, folder).run(stack)
    finally:
        shutil.rmtree(folder)


class _Round:
    def __init__(
        self, number: int, with_peer: bool, conditions: Conditions, results: Results, folder: Path
    ) -> None:
        self._number = number
        self._conditions = conditions
        self._results = results
        self._folder = folder
        tools: list[VmTool] = [HoldfastVm(inner=Holdfast(folder=folder / "holdfast"))]
        if with_peer:
            tools.append(VirtNbdBackup(folder=folder / VIRTNBDBACKUP))
        self._tools = turned(tools, number)

    def run(self, stack: ExitStack) -> None:
        pairs = [self._start(tool, stack) for tool in self._tools]
        for pair in pairs:
            self._back_up(pair, Phase.VM_FULL)
        size = self._conditions.source.size_bytes
        for pair in pairs:
            for offset in changed_ranges(size, CHANGED_SHARE, self._number):
                content = changed_content(offset, self._number)
                pair.vm.write_bytes(_DISK, offset, content, self._folder)
        for pair in pairs:
            self._back_up(pair, Phase.VM_CHANGED)
        for pair in pairs:
            self._restore(pair)

    def _start(self, tool: VmTool, stack: ExitStack) -> _Pair:
        disk = self._folder / f"{tool.name}.qcow2"
        convert = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2"]
        convert += [str(self._conditions.source.path), str(disk)]
        subprocess.run(convert, check=True, timeout=_CONVERT_TIMEOUT_S)
        tool.prepare()
        vm = stack.enter_context(guestless_vm([GuestlessDisk(target=_DISK, path=disk)]))
        return _Pair(tool=tool, vm=vm, disk=disk)

    def _back_up(self, pair: _Pair, phase: Phase) -> None:
        incremental = phase is Phase.VM_CHANGED
        before = stored_bytes(pair.tool.stored)
        command = pair.tool.backup(pair.vm.name, incremental=incremental)
        measurement = measure(
            command,
            cold=self._conditions.cold,
            written=pair.tool.stored,
            servers=[pair.vm.pid],
        )
        note = pair.tool.check(incremental=incremental)
        self._add(
            Sample(
                phase=phase,
                tool=pair.tool.name,
                measurement=measurement,
                stored_bytes=stored_bytes(pair.tool.stored) - before,
                note=note,
            )
        )

    def _restore(self, pair: _Pair) -> None:
        """With the VM off: only then its image holds everything that was written."""
        pair.vm.stop()
        target = self._folder / "restored"
        target.mkdir(mode=0o711)
        command, format = pair.tool.restore(target)
        measurement = measure(command, cold=self._conditions.cold, written=target)
        restored = max(target.iterdir(), key=lambda path: path.stat().st_size)
        compare = ["qemu-img", "compare", "-q", "-f", format, "-F", "qcow2"]
        compare += [str(restored), str(pair.disk)]
        if subprocess.run(compare, check=False, timeout=_CONVERT_TIMEOUT_S).returncode:
            raise WrongResult(f"{pair.tool.name} did not give back the VM's disk")
        shutil.rmtree(target)
        self._add(
            Sample(
                phase=Phase.VM_RESTORE, tool=pair.tool.name, measurement=measurement, note=format
            )
        )

    def _add(self, sample: Sample) -> None:
        self._results.add(sample)
        wall_s = sample.measurement.wall_s
        self._conditions.say(
            f"round {self._number + 1}: {sample.phase}: {sample.tool}: {wall_s:.1f} s"
        )
