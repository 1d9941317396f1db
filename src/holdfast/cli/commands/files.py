"""`holdfast files`: browse, fetch and find files inside a restore point."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.cli import opening
from holdfast.cli.options import Json, PassphraseFile, Point, RepositoryPath
from holdfast.cli.runtime import Runtime, command
from holdfast.cli.screen import printing, table
from holdfast.core.errors import InvalidInput
from holdfast.core.units import format_bytes

if TYPE_CHECKING:
    from holdfast.restore.guest_files.archive import ArchiveReport
    from holdfast.restore.guest_files.entries import FileEntry, Found, Unreadable
    from holdfast.restore.guest_files.session import GuestFiles

app = typer.Typer(help="Browse, fetch and find files in a restore point.", no_args_is_help=True)

GuestPath = Annotated[
    str, typer.Argument(help="Path in the point: /VOLUME/path, where / lists the volumes.")
]


@app.command("ls")
def list_files(
    point: Point,
    repository: RepositoryPath,
    path: GuestPath = "/",
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """List a folder; `/` lists the volumes."""
    with command(as_json=json) as runtime:
        where = os.fsencode(path)
        with _guest_files(point, repository, passphrase_file, runtime) as guest:
            if not where.strip(b"/"):
                _show_volumes(guest, runtime)
                return
            entry = guest.stat(where)
            if entry.type.value != "directory":
                runtime.screen.result(
                    {"path": path, "entries": [_document(entry)], "total": 1, "errors": []},
                    _entries_table([entry]),
                )
                return
            listing = guest.list(where)
        document = {
            "path": path,
            "entries": [_document(entry) for entry in listing.entries],
            "total": listing.total,
            "errors": list(listing.errors),
        }
        text = _entries_table(listing.entries) if listing.entries else "The folder is empty."
        for problem in listing.errors:
            runtime.screen.message(f"holdfast: part of {path} cannot be read: {problem}")
        runtime.screen.result(document, text)


@app.command("get")
def get(
    point: Point,
    path: GuestPath,
    repository: RepositoryPath,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Where to write it; - for standard output.", metavar="FILE"
        ),
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="For a folder: tar.zst or zip.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Fetch a file, or a folder as an archive."""
    with command(as_json=json) as runtime:
        where = os.fsencode(path)
        with _guest_files(point, repository, passphrase_file, runtime) as guest:
            is_folder = not where.strip(b"/") or guest.stat(where).type.value == "directory"
            if is_folder or format is not None:
                _get_archive(guest, where, output, format, runtime, overwrite=overwrite)
            else:
                _get_file(guest, where, output, runtime, overwrite=overwrite)


@app.command("find")
def find(
    point: Point,
    pattern: Annotated[str, typer.Argument(help="Part of a name, or a pattern with * ? [ ].")],
    repository: RepositoryPath,
    path: Annotated[str, typer.Option("--path", help="Only below this folder.")] = "/",
    limit: Annotated[int, typer.Option(help="Stop after this many.", min=1)] = 1000,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Find files by name, whatever the case."""
    from holdfast.restore.guest_files.entries import Found

    with command(as_json=json) as runtime:
        found: list[Found] = []
        unreadable: list[Unreadable] = []
        with _guest_files(point, repository, passphrase_file, runtime) as guest:
            for item in guest.find(os.fsencode(pattern), path=os.fsencode(path), limit=limit):
                if isinstance(item, Found):
                    found.append(item)
                else:
                    unreadable.append(item)
        _show_found(found, unreadable, pattern, runtime)


@contextmanager
def _guest_files(
    point: str, repository: str, passphrase_file: Path | None, runtime: Runtime
) -> Generator[GuestFiles]:
    from holdfast.restore.guest_files.session import open_guest_files
    from holdfast.restore.virtual_disk import VirtualDisk

    opened = opening.open_repository(repository, passphrase_file, runtime.settings)
    found = opened.point(point)
    opened.load_index()
    sources = {disk.key: VirtualDisk(opened, disk) for disk in found.manifest.disks}
    with open_guest_files(sources, cancel=runtime.cancel) as guest:
        yield guest


def _show_volumes(guest: GuestFiles, runtime: Runtime) -> None:
    volumes = guest.volumes()
    document = {
        "path": "/",
        "volumes": [
            {
                "id": volume.id,
                "size_bytes": volume.size_bytes,
                "filesystem": volume.filesystem,
                "label": volume.label.decode(errors="replace"),
                "uuid": volume.uuid,
                "error": volume.error or None,
                "notes": list(volume.notes),
            }
            for volume in volumes
        ],
        "total": len(volumes),
    }
    rows = [
        (
            f"/{volume.id}",
            volume.filesystem or "-",
            format_bytes(volume.size_bytes),
            volume.label.decode(errors="replace"),
            volume.error,
        )
        for volume in volumes
    ]
    text = table(("VOLUME", "FILE SYSTEM", "SIZE", "LABEL", "PROBLEM"), rows, right=(2,))
    runtime.screen.result(document, text if volumes else "No volume was found on its disks.")


def _get_file(
    guest: GuestFiles, path: bytes, output: Path | None, runtime: Runtime, *, overwrite: bool
) -> None:
    from holdfast.restore.guest_files.save import local_name, save_file

    file = guest.open(path)
    if output is not None and str(output) == "-":
        _refuse_json(runtime)
        for data in file.chunks():
            with printing():
                sys.stdout.buffer.write(data)
        return
    destination = output or Path(local_name(file.entry.name))
    written = save_file(file, destination, overwrite=overwrite)
    document = {"path": _path_text(path), "output": str(written), "size_bytes": file.size_bytes}
    size = format_bytes(file.size_bytes)
    runtime.screen.result(document, f"Wrote {written} ({size}).")


def _get_archive(
    guest: GuestFiles,
    path: bytes,
    output: Path | None,
    format: str | None,
    runtime: Runtime,
    *,
    overwrite: bool,
) -> None:
    from holdfast.restore.guest_files.archive import ArchiveFormat, write_archive
    from holdfast.restore.guest_files.save import local_name, new_file

    is_zip = output is not None and output.suffix.lower() == ".zip"
    name = format or ("zip" if is_zip else "tar.zst")
    try:
        kind = ArchiveFormat(name)
    except ValueError as error:
        raise InvalidInput(
            what="--format", problem=f"{name!r} is neither tar.zst nor zip"
        ) from error
    paths = (
        [path] if path.strip(b"/") else [b"/" + volume.id.encode() for volume in guest.volumes()]
    )
    if output is not None and str(output) == "-":
        _refuse_json(runtime)
        with printing():
            report = write_archive(guest, paths, sys.stdout.buffer, archive_format=kind)
        _warn(report, runtime)
        return
    last = path.rstrip(b"/").rpartition(b"/")[2] or b"files"
    destination = output or Path(f"{local_name(last)}.{kind.value}")
    with new_file(destination, overwrite=overwrite) as file:
        report = write_archive(guest, paths, file, archive_format=kind)
    _warn(report, runtime)
    document = {
        "path": _path_text(path),
        "output": str(destination),
        "format": kind.value,
        "files": report.files,
        "directories": report.directories,
        "symlinks": report.symlinks,
        "bytes": report.bytes,
        "skipped": report.skipped,
        "errors": [{"path": _path_text(item.path), "error": item.error} for item in report.errors],
        "error_count": report.error_count,
    }
    text = f"Wrote {destination}: {report.files} files, {format_bytes(report.bytes)}."
    runtime.screen.result(document, text)
    if report.error_count:
        raise typer.Exit(1)


def _warn(report: ArchiveReport, runtime: Runtime) -> None:
    from holdfast.restore.guest_files.entries import display_name

    for item in report.errors[:20]:
        runtime.screen.message(f"not in the archive: {display_name(item.path)}: {item.error}")
    if report.error_count > 20:
        runtime.screen.message(f"and {report.error_count - 20} more")


def _refuse_json(runtime: Runtime) -> None:
    if runtime.screen.as_json:
        raise InvalidInput(what="--json", problem="cannot go with --output -")


def _show_found(
    found: list[Found], unreadable: list[Unreadable], pattern: str, runtime: Runtime
) -> None:
    from holdfast.restore.guest_files.entries import display_name

    for item in unreadable:
        runtime.screen.message(f"holdfast: cannot read {display_name(item.path)}: {item.error}")
    document = {
        "pattern": pattern,
        "found": [
            {**_document(item.entry), "path": _path_text(item.path or item.folder)}
            for item in found
        ],
        "total": len(found),
        "unreadable": [{"path": _path_text(item.path), "error": item.error} for item in unreadable],
    }
    lines = [
        display_name(item.path)
        if item.path
        else f"{display_name(item.folder)}/… {item.entry.error}"
        for item in found
    ]
    runtime.screen.result(document, "\n".join(lines) or f"Nothing matches {pattern!r}.")


def _document(entry: FileEntry) -> dict[str, Any]:
    """An entry; a name that is not UTF-8 also as `name_b64`."""
    modified = entry.modified
    document: dict[str, Any] = {
        "name": _path_text(entry.name),
        "type": entry.type.value,
        "size": entry.size_bytes,
        "mode": f"{entry.mode:04o}",
        "uid": entry.uid,
        "gid": entry.gid,
        "modified_time": modified.isoformat() if modified else None,
    }
    if entry.symlink_target is not None:
        document["symlink_target"] = _path_text(entry.symlink_target)
    if entry.error is not None:
        document["error"] = entry.error
    try:
        entry.name.decode()
    except UnicodeDecodeError:
        document["name_b64"] = base64.b64encode(entry.name).decode()
    return document


def _entries_table(entries: Any) -> str:
    from holdfast.restore.guest_files.entries import display_name

    marks = {"directory": "d", "symlink": "l", "file": "-"}
    rows: list[tuple[str, ...]] = []
    for entry in entries:
        name = display_name(entry.name)
        if entry.symlink_target is not None:
            name += f" -> {display_name(entry.symlink_target)}"
        if entry.error is not None:
            name += f"  ({entry.error})"
        rows.append(
            (
                f"{marks.get(entry.type.value, '?')}{entry.mode:04o}",
                str(entry.uid),
                str(entry.gid),
                format_bytes(entry.size_bytes),
                f"{entry.modified:%Y-%m-%d %H:%M}" if entry.modified else "-",
                name,
            )
        )
    return table(("MODE", "UID", "GID", "SIZE", "MODIFIED", "NAME"), rows, right=(1, 2, 3))


def _path_text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()
