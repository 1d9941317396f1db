"""`holdfast backup`."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.cli import opening
from holdfast.cli.documents import point_document
from holdfast.cli.options import Json, PassphraseFile, RepositoryPath
from holdfast.cli.runtime import command
from holdfast.cli.screen import ProgressBar, throughput
from holdfast.core.units import format_bytes, format_duration
from holdfast.repository import RestorePoint, check_tag


def backup(
    source: Annotated[
        str,
        typer.Argument(
            help="A disk image, a folder of images, or libvirt:URI/VM "
            "(libvirt:qemu:///system/web01)."
        ),
    ],
    repository: RepositoryPath,
    full: Annotated[
        bool, typer.Option("--full", help="Read every byte even if only changes are needed.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", help="Name for images (default: the file's).")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format", help="Format of an image whose name does not say it: raw, qcow2, vmdk."
        ),
    ] = None,
    disk: Annotated[
        list[str] | None, typer.Option("--disk", help="Only this disk; may be repeated.")
    ] = None,
    no_freeze: Annotated[
        bool, typer.Option("--no-freeze", help="Do not ask the guest agent to freeze.")
    ] = False,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", help="Word to find the point by in `prune`; may be repeated."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Back up a VM, incrementally when it can be, and say why when it cannot."""
    from holdfast.backup.run import BackupOptions, back_up_vm

    with command(as_json=json) as runtime, ProgressBar(runtime.screen) as progress:
        tags = [check_tag(item) for item in tag or []]
        opened = opening.open_repository(repository, passphrase_file, runtime.settings)
        found = opening.open_source(source, runtime.settings, format=format, name=name)
        result = back_up_vm(
            driver=found.driver,
            vm=found.vm,
            repository=opened,
            cancel=runtime.cancel,
            options=BackupOptions(
                full=full, disk_keys=disk or None, freeze=not no_freeze, tags=tags
            ),
            progress=progress,
        )
        manifest = result.manifest
        for note in manifest.notes:
            progress.message(f"note: {note}")
        for point_id in result.suspects:
            progress.message(f"point {point_id} is in doubt: see `holdfast points`")
        document = {
            **point_document(RestorePoint(manifest=manifest)),
            "duration_s": round(result.duration_s, 3),
            "read_bytes": result.read_bytes,
            "suspects": list(result.suspects),
        }
        rate = throughput(result.read_bytes, result.duration_s)
        runtime.screen.result(
            document,
            f"Restore point {manifest.id} of {manifest.vm.name} ({manifest.captured_as}, "
            f"{manifest.consistency}-consistent): {format_bytes(manifest.size_bytes)} in "
            f"{len(manifest.disks)} disk(s), {format_bytes(result.read_bytes)} read, "
            f"{format_bytes(manifest.stored_bytes)} stored in "
            f"{format_duration(result.duration_s)}{f' ({rate})' if rate else ''}.",
        )
