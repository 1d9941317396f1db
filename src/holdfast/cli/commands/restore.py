"""`holdfast restore`: one disk to a file, or the whole VM."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import opening
from holdfast.cli.options import Json, PassphraseFile, Point, RepositoryPath
from holdfast.cli.runtime import Runtime, command
from holdfast.cli.screen import ProgressBar, throughput
from holdfast.core.errors import InvalidInput
from holdfast.core.units import format_bytes, format_duration
from holdfast.repository import Repository, RestorePoint

if TYPE_CHECKING:
    from holdfast.restore.disk import DiskRestore
    from holdfast.restore.vm import VmRestoreOptions

EXIT_INTEGRITY = 3
_EXTENSIONS = {".qcow2": "qcow2", ".vmdk": "vmdk"}


def restore(
    point: Point,
    repository: RepositoryPath,
    disk: Annotated[
        str | None, typer.Option("--disk", help="Restore this disk only, to --output.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The new image.", metavar="FILE")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option("--format", help="raw, qcow2 or vmdk (default: by the name of the output)."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", help="Restore the whole VM there: libvirt:URI.", metavar="TARGET"),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Name of the restored VM.", metavar="NEW")
    ] = None,
    storage: Annotated[
        Path | None,
        typer.Option("--storage", help="Folder for the disks of the VM.", metavar="FOLDER"),
    ] = None,
    start: Annotated[bool, typer.Option("--start", help="Start the restored VM.")] = False,
    isolated: Annotated[
        bool, typer.Option("--isolated", help="Leave its network cards disconnected.")
    ] = False,
    keep_identity: Annotated[
        bool, typer.Option("--keep-identity", help="Keep the UUID and the MAC addresses.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the VM of that name.")
    ] = False,
    confirm: Annotated[
        str | None,
        typer.Option("--confirm", help="With --overwrite: the VM's name, instead of being asked."),
    ] = None,
    fill_holes: Annotated[
        bool,
        typer.Option(
            "--fill-holes-with-zeroes",
            help="With --disk: write zeroes where data cannot be read any more, list every such "
            "place, and exit with status 3.",
        ),
    ] = False,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Restore one disk to a file (--disk, --output), or the whole VM (--to)."""
    with command(as_json=json) as runtime:
        if to is not None:
            options_of_disks = {"--disk": disk, "--output": output, "--format": format}
            _refuse(to, {**options_of_disks, "--fill-holes-with-zeroes": fill_holes or None})
        elif disk is None or output is None:
            problem = "give --disk and --output for one disk, or --to for the whole VM"
            raise InvalidInput(what="restore", problem=problem)
        opened = opening.open_repository(repository, passphrase_file, runtime.settings)
        found = opened.point(point)
        opened.load_index()
        if found.suspect:
            runtime.screen.message(f"holdfast: this point is in doubt: {found.suspect}")
        if to is None and disk is not None and output is not None:
            _restore_disk(opened, found, disk, output, format, runtime, fill_holes=fill_holes)
            return
        from holdfast.restore.vm import VmRestoreOptions

        options = VmRestoreOptions(
            name=name or (found.manifest.vm.name if overwrite else None),
            storage=storage,
            start=start,
            isolated=isolated,
            keep_identity=keep_identity or overwrite,
            overwrite=overwrite,
        )
        if overwrite:
            _confirm(options.name or "", confirm, runtime)
        _restore_vm(opened, found, to or "", options, runtime)


def _restore_disk(
    repository: Repository,
    point: RestorePoint,
    key: str,
    output: Path,
    format: str | None,
    runtime: Runtime,
    *,
    fill_holes: bool,
) -> None:
    from holdfast.restore.disk import restore_disk
    from holdfast.restore.targets import FORMATS

    chosen = format or _EXTENSIONS.get(output.suffix.lower(), "raw")
    if chosen not in FORMATS:
        raise InvalidInput(what="--format", problem=f"{chosen!r} is none of {', '.join(FORMATS)}")
    with ProgressBar(runtime.screen) as progress:
        done = restore_disk(
            repository=repository,
            disk=point.disk(key),
            output=output,
            format=chosen,
            cancel=runtime.cancel,
            progress=progress,
            fill_holes=fill_holes,
        )
    document: dict[str, Any] = {
        "point": point.id,
        "disk": key,
        "output": str(output),
        "format": chosen,
        "size_bytes": done.size_bytes,
        "written_bytes": done.written_bytes,
        "duration_s": round(done.duration_s, 3),
    }
    if fill_holes:
        document["whole"] = done.is_whole
        document["holes"] = [
            {"offset": hole.offset, "length": hole.length, "problem": hole.problem}
            for hole in done.holes
        ]
    runtime.screen.result(document, _disk_text(done, key, chosen))
    if not done.is_whole:
        raise typer.Exit(EXIT_INTEGRITY)


def _disk_text(done: DiskRestore, key: str, format: str) -> str:
    rate = throughput(done.written_bytes, done.duration_s)
    figures = (
        f"{key} to {done.path} ({format}): {format_bytes(done.size_bytes)}, "
        f"{format_bytes(done.written_bytes)} written in {format_duration(done.duration_s)}"
        f"{f' ({rate})' if rate else ''}"
    )
    if done.is_whole:
        return f"Restored {figures}. Every chunk was verified."
    lost = format_bytes(sum(hole.length for hole in done.holes))
    lines = [f"NOT WHOLE: {lost} of {figures} could not be read and hold zeroes instead:"]
    lines += [
        f"  {hole.length} bytes from byte {hole.offset}: {hole.problem}" for hole in done.holes
    ]
    lines.append("Everything else was verified. Check its file systems before use.")
    return "\n".join(lines)


def _restore_vm(
    repository: Repository,
    point: RestorePoint,
    to: str,
    options: VmRestoreOptions,
    runtime: Runtime,
) -> None:
    from holdfast.restore.vm import restore_vm

    scheme, _, uri = to.partition(":")
    if scheme != "libvirt" or not uri:
        raise InvalidInput(what="--to", problem=f"{to!r} is not libvirt:URI")
    with ProgressBar(runtime.screen) as progress:
        done = restore_vm(
            repository=repository,
            point=point,
            uri=uri,
            options=options,
            cancel=runtime.cancel,
            progress=progress,
        )
    document = {
        "point": point.id,
        "vm": {"id": done.vm.id, "name": done.vm.name, "platform": done.vm.platform},
        "disks": {key: str(path) for key, path in done.disks.items()},
        "started": options.start,
        "written_bytes": done.written_bytes,
        "duration_s": round(done.duration_s, 3),
        "notes": list(done.notes),
    }
    for note in done.notes:
        runtime.screen.message(f"note: {note}")
    state = "and started" if options.start else "and shut off"
    runtime.screen.result(
        document,
        f"Restored {done.vm.name} ({done.vm.id}) with {len(done.disks)} disk(s), defined {state}: "
        f"{format_bytes(done.written_bytes)} written in {format_duration(done.duration_s)}.",
    )


def _confirm(name: str, confirm: str | None, runtime: Runtime) -> None:
    """Replacing a VM needs its name typed once more."""
    typed = confirm
    if typed is None and not runtime.screen.as_json:
        question = f"This replaces {name} and its disks. Type its name to go on"
        typed = str(typer.prompt(question, err=True))
    if typed != name:
        raise InvalidInput(what="--overwrite", problem=f"{name!r} was not confirmed by its name")


def _refuse(to: str, options: dict[str, object]) -> None:
    for option, value in options.items():
        if value is not None:
            raise InvalidInput(what=option, problem=f"does not go with --to {to}")
