"""The demo itself: a real guest is backed up, changed, backed up again, and given back, with the
commands that a user would type; everything that comes back is compared with what was there.

Enter at `run_demo` and `remove_lab`.
"""

from __future__ import annotations

import secrets
import shlex
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from holdfast.cli.demo import contents
from holdfast.cli.demo.acceleration import DomainType, choose_domain_type
from holdfast.cli.demo.commands import HoldfastCommands, PointFacts, holdfast_program
from holdfast.cli.demo.errors import ComparisonFailed
from holdfast.cli.demo.guest import Guest, build_guest
from holdfast.cli.demo.initramfs import DATA_MOUNT, FILES_MOUNT
from holdfast.cli.demo.lab import VM_NAME, Lab, default_lab_dir
from holdfast.cli.demo.libvirt_service import SYSTEM_URI, ensure_libvirtd
from holdfast.cli.demo.screen import Measured, Screen
from holdfast.cli.demo.service import DEFAULT_LISTEN, DemoService, start_service, stop_service
from holdfast.core.clock import SystemClock
from holdfast.core.errors import Category, HoldfastError
from holdfast.core.units import MIB, format_duration

EXIT_OK, EXIT_FAILED, EXIT_INTEGRITY, EXIT_INTERRUPTED = 0, 1, 3, 130

_STEPS = 10
_ORDER_ROWS_ADDED = 500
_NEW_PHOTO_BYTES = 3 * MIB
_NEW_LETTER = contents.LETTER_TEXT.replace("on Monday", "today").replace("three days", "one day")
_NEW_PLAN = contents.PLAN_TEXT + "4. Back it up\n"
# Where the guest's files are in a point: the volume, then the path within its file system.
_DATA_VOLUME, _FILES_VOLUME = "/vda1", "/vdb"


def run_demo(
    *,
    lab_dir: Path,
    console: Console,
    vm_name: str = VM_NAME,
    listen: str | None = DEFAULT_LISTEN,
) -> int:
    """Run every step. The exit status: 0 only if every comparison held.

    What was made stays for exploring: the VMs, the repository, the fetched files, and the service,
    unless `listen` is None.
    """
    screen = Screen(console, SystemClock(), steps=_STEPS + (listen is not None))
    console.print("[bold]Holdfast demo[/]: a VM is backed up while it runs, and given back")
    look_further = [f"{_removal_command(lab_dir)}   # deletes {lab_dir} and the demo's VMs"]
    try:
        lab = Lab.open(lab_dir, vm_name)
        look_further[:0] = [
            f"export HOLDFAST_PASSPHRASE_FILE={lab.passphrase_file}",
            f"holdfast points --repository {lab.repository}",
            f"virsh -c {SYSTEM_URI} console {lab.vm_name}",
        ]
        service = _Demo(lab, screen, listen).run()
    except HoldfastError as error:
        screen.failed(error, look_further)
        is_integrity = error.category is Category.INTEGRITY
        return EXIT_INTEGRITY if is_integrity else EXIT_FAILED
    except KeyboardInterrupt:
        console.print("\nStopped. The next run starts afresh.")
        return EXIT_INTERRUPTED
    if service is not None:
        _show_service(console, service)
    console.print("\nEverything is still there to explore:")
    for line in look_further:
        console.print(f"   {line}", style="cyan", markup=False, highlight=False, soft_wrap=True)
    return EXIT_OK


def _show_service(console: Console, service: DemoService) -> None:
    lines = (
        f"\nThe service runs on the demo's lab: {service.url}",
        f"   Sign in as   {service.administrator}",
        f"   Password     {service.password}",
        "   The password is new with every demo; that of an earlier demo is gone with its service.",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def remove_lab(*, lab_dir: Path, console: Console, vm_name: str = VM_NAME) -> int:
    """Stop the demo's service, remove its VMs and its folder, and nothing else."""
    if not lab_dir.exists():
        console.print(f"There is no demo in {lab_dir}.", markup=False)
        return EXIT_OK
    try:
        ensure_libvirtd()
        lab = Lab(folder=lab_dir.absolute(), vm_name=vm_name)
        stop_service(lab)
        lab.remove()
    except HoldfastError as error:
        console.print(f"Not removed: {error}", style="red", markup=False)
        return EXIT_FAILED
    console.print(
        f"Stopped the demo's service; removed {lab_dir} and the demo's VMs.", markup=False
    )
    return EXIT_OK


def _removal_command(lab_dir: Path) -> str:
    elsewhere = ["--lab-dir", str(lab_dir)] if lab_dir != default_lab_dir() else []
    return shlex.join(["holdfast", "demo", "--remove", *elsewhere])


class _Demo:
    """The steps in their order; each leaves what the next needs."""

    def __init__(self, lab: Lab, screen: Screen, listen: str | None) -> None:
        self._lab = lab
        self._listen = listen
        self._screen = screen
        self._clock = SystemClock()
        self._measured: list[Measured] = []
        self._source = f"libvirt:{SYSTEM_URI}/{lab.vm_name}"
        self._holdfast = HoldfastCommands(
            screen=screen, passphrase_file=lab.passphrase_file, repository=lab.repository
        )

    def run(self) -> DemoService | None:
        started_s = self._clock.monotonic_s()
        guest, domain_type = self._prepare()
        self._start_guest(guest, domain_type)
        self._create_repository()
        full = self._back_up_full()
        digest = self._change_files()
        second = self._back_up_changes(full)
        self._list_points()
        self._fetch_from_both(full, second)
        self._restore(second)
        self._ask_restored(digest)
        service = self._start_service(self._listen) if self._listen is not None else None
        self._screen.summary(self._measured, total_s=self._clock.monotonic_s() - started_s)
        return service

    def _prepare(self) -> tuple[Guest, DomainType]:
        screen = self._screen
        with screen.step("Prepare a small real guest"):
            if stop_service(self._lab):
                screen.note("the service of the last demo was stopped")
            screen.note(f"lab folder: {self._lab.folder}; commands run: {holdfast_program()}")
            guest = build_guest(self._lab.guest_cache, lambda text: screen.note(f"making: {text}"))
            screen.note(f"guest: Linux {guest.kernel_release}, ext4 on GPT, XFS")
            if ensure_libvirtd():
                screen.note("libvirtd was not running and was started; it is left running")
            domain_type = choose_domain_type(guest, self._lab.acceleration_file)
            works = "works" if domain_type == "kvm" else "does not work here, so TCG is used"
            screen.note(f"KVM {works} (found out by booting)")
        return guest, domain_type

    def _start_guest(self, guest: Guest, domain_type: DomainType) -> None:
        lab, screen = self._lab, self._screen
        with screen.step("Start it in libvirt"):
            lab.remove_restored_vm()
            with self._timed("VM started"):
                lab.start_vm(guest, domain_type)
            screen.note(f"{lab.vm_name} runs; its guest agent answers")
            letter = lab.agent.read_file(f"{DATA_MOUNT}/{contents.LETTER}").decode()
            screen.compare("its disks are mounted", expected=contents.LETTER_TEXT, found=letter)

    def _create_repository(self) -> None:
        lab = self._lab
        with self._screen.step("Create an encrypted repository"):
            for folder in (lab.repository, lab.fetched_folder):
                if folder.exists():
                    shutil.rmtree(folder)
            lab.fetched_folder.mkdir()
            lab.recovery_kit.unlink(missing_ok=True)
            lab.passphrase_file.unlink(missing_ok=True)
            lab.passphrase_file.touch(mode=0o600)
            lab.passphrase_file.write_text(secrets.token_urlsafe(24) + "\n")
            self._screen.command(["export", f"HOLDFAST_PASSPHRASE_FILE={lab.passphrase_file}"])
            self._holdfast.run_plain(
                *("repository", "create", str(lab.repository)),
                *("--recovery-kit", str(lab.recovery_kit)),
            )

    def _back_up_full(self) -> PointFacts:
        with self._screen.step("Back up the running VM"):
            point = self._back_up("full backup", known=[])
            self._compare_capture(point, captured_as="full", mode="full")
        return point

    def _change_files(self) -> str:
        """Change the running guest; a hash of everything that it holds afterwards."""
        agent, screen = self._lab.agent, self._screen
        with screen.step("Change files in the running guest"):
            rows = contents.order_table(contents.ORDER_ROWS + _ORDER_ROWS_ADDED)
            agent.write_file(f"{DATA_MOUNT}/{contents.LETTER}", _NEW_LETTER.encode())
            agent.write_file(f"{DATA_MOUNT}/{contents.ORDERS}", rows)
            agent.write_file(f"{FILES_MOUNT}/{contents.PLAN}", _NEW_PLAN.encode())
            agent.run(["rm", f"{DATA_MOUNT}/{contents.OBSOLETE}"])
            photo = [f"of={FILES_MOUNT}/projects/photo.bin", f"count={_NEW_PHOTO_BYTES // MIB}"]
            agent.run(["dd", "if=/dev/urandom", "bs=1M", *photo])
            agent.sync()
            screen.note("one letter rewritten, 500 orders added, one table deleted, a photo added")
            digest = self._lab.tree_digest()
            screen.note(f"all files now: SHA-256 {digest[:16]}…")
        return digest

    def _back_up_changes(self, full: PointFacts) -> PointFacts:
        with self._screen.step("Back it up again"):
            point = self._back_up("incremental backup", known=[full])
            self._compare_capture(point, captured_as="incremental", mode="changed")
            if point.stored_bytes * 4 > full.stored_bytes:
                raise ComparisonFailed(
                    what="size of the incremental backup",
                    expected=f"less than a quarter of {full.stored_bytes} bytes",
                    found=f"{point.stored_bytes} bytes",
                )
            ratio = full.stored_bytes / max(point.stored_bytes, 1)
            self._screen.passed(f"it stored {ratio:.0f} times less than the full backup")
        return point

    def _list_points(self) -> None:
        with self._screen.step("List the restore points"):
            self._holdfast.run("points")

    def _fetch_from_both(self, full: PointFacts, second: PointFacts) -> None:
        screen = self._screen
        with screen.step("Fetch single files from both points"):
            folder = str(Path(_DATA_VOLUME) / Path(contents.LETTER).parent)
            self._holdfast.run("files", "ls", full.id, folder)
            self._holdfast.run("files", "ls", second.id, folder)
            path = f"{_DATA_VOLUME}/{contents.LETTER}"
            before = self._fetch(full, path, "letter-before.txt")
            after = self._fetch(second, path, "letter-after.txt")
            screen.compare(
                "the first point gives the old letter",
                expected=contents.LETTER_TEXT.encode(),
                found=before,
            )
            screen.compare(
                "the second point gives the new letter",
                expected=_NEW_LETTER.encode(),
                found=after,
            )
            screen.side_by_side(("first point", before.decode()), ("second point", after.decode()))
            plan = self._fetch(second, f"{_FILES_VOLUME}/{contents.PLAN}", "plan-after.txt")
            screen.compare("a file from the XFS disk, too", expected=_NEW_PLAN.encode(), found=plan)

    def _restore(self, point: PointFacts) -> None:
        lab = self._lab
        with self._screen.step("Restore the second point as a new VM"):
            with self._timed("VM restored", disk_bytes=point.size_bytes):
                self._holdfast.run(
                    *("restore", point.id, "--to", f"libvirt:{SYSTEM_URI}"),
                    *("--name", lab.restored.vm_name, "--start", "--isolated"),
                )
            lab.remember_restored_disks()

    def _ask_restored(self, digest: str) -> None:
        screen, restored = self._screen, self._lab.restored
        with screen.step("Ask the restored VM"):
            with self._timed("restored VM answered"):
                restored.wait_for_agent()
            letter = restored.agent.read_file(f"{DATA_MOUNT}/{contents.LETTER}").decode()
            screen.compare("it boots and has the new letter", expected=_NEW_LETTER, found=letter)
            screen.compare(
                "all its files are equal, by name and content, to those that were backed up",
                expected=digest,
                found=restored.tree_digest(),
            )

    def _start_service(self, listen: str) -> DemoService:
        lab, screen = self._lab, self._screen
        with screen.step("Start the service on what was made"):
            screen.command(["holdfast", "serve", "--listen", listen])
            with self._timed("service started"):
                service = start_service(lab, listen)
            screen.compare("its catalogue has both backups", expected=2, found=service.backups)
            names = sorted((lab.vm_name, lab.restored.vm_name))
            screen.compare("it knows both VMs of this host", expected=names, found=[*service.vms])
            screen.compare("its worker is ready for runs", expected=1, found=service.workers)
        return service

    def _back_up(self, what: str, known: list[PointFacts]) -> PointFacts:
        """Run a backup; the point that it made."""
        started_s = self._clock.monotonic_s()
        self._holdfast.run("backup", self._source)
        duration_s = self._clock.monotonic_s() - started_s
        known_ids = {point.id for point in known}
        new = [point for point in self._holdfast.points() if point.id not in known_ids]
        self._screen.compare("the repository shows one new point", expected=1, found=len(new))
        point = new[0]
        self._measured.append(
            Measured(
                what=what,
                duration_s=duration_s,
                disk_bytes=point.size_bytes,
                read_bytes=point.read_bytes,
                stored_bytes=point.stored_bytes,
            )
        )
        return point

    def _compare_capture(self, point: PointFacts, *, captured_as: str, mode: str) -> None:
        screen = self._screen
        screen.compare(f"captured as {captured_as}", expected=captured_as, found=point.captured_as)
        screen.compare(
            "by its record, the file systems were frozen at that instant",
            expected="filesystem",
            found=point.consistency,
        )
        for disk in point.disks:
            screen.compare(f"{disk.key}: {mode}: {disk.reason}", expected=mode, found=disk.mode)

    def _fetch(self, point: PointFacts, path: str, name: str) -> bytes:
        output = self._lab.fetched_folder / name
        self._holdfast.run("files", "get", point.id, path, "--output", str(output))
        return output.read_bytes()

    @contextmanager
    def _timed(self, what: str, disk_bytes: int | None = None) -> Generator[None, None, None]:
        started_s = self._clock.monotonic_s()
        yield
        duration_s = self._clock.monotonic_s() - started_s
        self._measured.append(Measured(what=what, duration_s=duration_s, disk_bytes=disk_bytes))
        self._screen.note(f"{what} in {format_duration(duration_s)}")
