"""`python -m tests.benchmarks`: run every round, print the tables. See `--help`."""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import libvirt

from holdfast.core.units import GIB, MIB
from tests.benchmarks.distant_bucket import distant_bucket
from tests.benchmarks.image_rounds import Conditions, WrongResult, run_image_round
from tests.benchmarks.machine import describe_machine, installed
from tests.benchmarks.maintenance_rounds import run_maintenance_round
from tests.benchmarks.measuring import CommandFailed
from tests.benchmarks.point_rounds import run_point_round
from tests.benchmarks.report import print_profile, print_report, write_json
from tests.benchmarks.results import Phase, Results
from tests.benchmarks.source_disk import DiskSpec, source_disk
from tests.benchmarks.stage_profile import profile_backup
from tests.benchmarks.tools import DISTANT, IMAGE_TOOLS, KEEPERS, OURS, PACKAGES
from tests.benchmarks.vm_rounds import VIRTNBDBACKUP, run_vm_round

_DEFAULT_WORK = Path("/var/tmp/holdfast-bench")  # noqa: S108 - locked; kept between runs
_ROUNDS = ("image", "maintenance", "points", "vm", "s3", "s3-points")
"""The last one is a part of the one before."""
_SPACE_FACTOR = 8
"""Times the disk's size that the stores and copies of a round take."""
_IMAGE_PHASES = (Phase.FULL, Phase.UNCHANGED, Phase.CHANGED, Phase.RESTORE)
_VM_PHASES = (Phase.VM_FULL, Phase.VM_CHANGED, Phase.VM_RESTORE)
_VM_PROGRAMS = {
    "virsh": "libvirt-clients",
    "libvirtd": "libvirt-daemon-system",
    "qemu-system-x86_64": "qemu-system-x86",
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    work: Path = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    work.chmod(0o711)  # QEMU's user passes through to the VMs' disks
    with (work / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(f"another benchmark runs in {work}")
            return 1
        return _run(options, work)


def _run(options: argparse.Namespace, work: Path) -> int:
    cold = not options.warm
    if cold and os.geteuid() != 0:
        _say("only root can empty the page cache: add --warm, or run as root")
        return 2
    # The tables name the load before anything of ours ran.
    machine = describe_machine(work)
    size = options.size * MIB
    spec = DiskSpec(size_bytes=size, content_bytes=size * 3 // 4, roots=options.roots)
    _say(f"disk {spec.key}: made on first use, about two minutes")
    source = source_disk(work, spec, rebuild=options.rebuild)
    if shutil.disk_usage(work).free < _SPACE_FACTOR * size:
        _say(f"{work} needs {_SPACE_FACTOR * size / GIB:.0f} GiB free")
        return 1
    conditions = Conditions(source=source, work=work, cold=cold, say=_say)
    results = Results()
    problems: list[str] = []
    try:
        _measure(options, conditions, results)
    except (CommandFailed, WrongResult, libvirt.libvirtError) as error:
        # What was measured before it is worth showing.
        problems.append(str(error))
    print_report(results, machine, source, cold=cold, rounds=options.repeat)
    if options.json:
        write_json(options.json, results, machine, source, cold=cold, rounds=options.repeat)
    if options.profile:
        try:
            _profile(source.path, work)
        except CommandFailed as error:
            problems.append(str(error))
    for problem in problems:
        _say(f"NOT MEASURED TO THE END: {problem}")
    return 1 if problems else 0


def _measure(options: argparse.Namespace, conditions: Conditions, results: Results) -> None:
    """Every kind of round asked for, as often as asked for."""
    rounds = set(options.rounds)
    names = _image_tools(options.only, results)
    keepers = [name for name in KEEPERS if name in names]
    vm, peer = _vm_tools(results) if "vm" in rounds else (False, False)
    with ExitStack() as stack:
        far_away = bool({"s3", "s3-points"} & rounds)
        bucket = stack.enter_context(distant_bucket()) if far_away else None
        far = [name for name in DISTANT if name in names]
        for number in range(options.repeat):
            if "image" in rounds:
                run_image_round(number, names, conditions, results)
            if "maintenance" in rounds:
                run_maintenance_round(number, keepers, conditions, results)
            if "points" in rounds:
                run_point_round(number, keepers, conditions, results)
            if vm:
                run_vm_round(number, peer, conditions, results)
            if bucket and "s3" in rounds:
                run_image_round(number, far, conditions, results, bucket)
                run_maintenance_round(number, far, conditions, results, bucket)
            if bucket:
                run_point_round(number, far, conditions, results, bucket)
    if bucket:
        results.skip([phase for phase in Phase if phase.name.startswith("S3_")], "borg", "no S3")


def _image_tools(only: Sequence[str] | None, results: Results) -> list[str]:
    names: list[str] = []
    for name in only or IMAGE_TOOLS:
        package = PACKAGES.get(name)
        if package and not installed(name):
            results.skip(_IMAGE_PHASES, name, f"not installed: apt-get install {package}")
        elif name in IMAGE_TOOLS:
            names.append(name)
    return names


def _vm_tools(results: Results) -> tuple[bool, bool]:
    """Whether VMs can be measured, and whether the peer can."""
    missing = [package for program, package in _VM_PROGRAMS.items() if not installed(program)]
    if os.geteuid() != 0 or missing:
        reason = f"apt-get install {' '.join(missing)}" if missing else "needs root"
        results.skip(_VM_PHASES, OURS, reason)
        return False, False
    if not installed(VIRTNBDBACKUP):
        reason = f"not installed: apt-get install {PACKAGES[VIRTNBDBACKUP]}"
        results.skip(_VM_PHASES, VIRTNBDBACKUP, reason)
        return True, False
    return True, True


def _profile(disk: Path, work: Path) -> None:
    folder = work / "profile"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        profile = profile_backup(disk, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print_profile(profile)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure Holdfast against its peers on one disk of real files.",
    )
    parser.add_argument(
        "--work", type=Path, default=_DEFAULT_WORK, help="folder for disks and stores"
    )
    parser.add_argument("--size", type=int, default=4096, metavar="MIB", help="size of the disk")
    parser.add_argument("--repeat", type=int, default=2, metavar="N", help="rounds")
    parser.add_argument(
        "--warm", action="store_true", help="leave the page cache as it is (no root needed)"
    )
    parser.add_argument("--only", nargs="+", choices=list(IMAGE_TOOLS), help="tools on the image")
    parser.add_argument(
        "--rounds", nargs="+", choices=_ROUNDS, default=_ROUNDS, help="what to measure"
    )
    parser.add_argument(
        "--roots", nargs="+", default=["/usr", "/opt"], help="folders to take the files from"
    )
    parser.add_argument("--rebuild", action="store_true", help="make the disk again")
    parser.add_argument(
        "--profile", action="store_true", help="show where our full backup spends its time"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
