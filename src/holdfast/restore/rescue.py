"""Everything of one point as files in a folder: disks as images, the VM's definition, firmware and
TPM state, and a page that says how to make a VM of them.

What cannot be read costs itself only. A run that was broken off goes on where it was: a list in the
folder says what is complete. Enter at `rescue_point`. Knows nothing of libvirt's library: it need
not be installed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import HoldfastError, TargetExists
from holdfast.core.progress import ProgressSink
from holdfast.core.units import format_bytes
from holdfast.hypervisors.libvirt.domain_xml import parse_xml
from holdfast.hypervisors.libvirt.restored_xml import DiskFile, Identity, restored_xml
from holdfast.nbd.errors import TargetUnavailable
from holdfast.repository import DiskRecord, Repository, RestorePoint
from holdfast.repository.losses import DAMAGE
from holdfast.restore.disk import restore_disk
from holdfast.restore.rescue_readme import readme
from holdfast.restore.rescued import (
    DEFINITION,
    DOMAIN,
    NVRAM,
    README,
    PointRescue,
    RescueOptions,
    SavedFile,
)
from holdfast.restore.targets import new_target

_LIST = "rescue.json"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_FOLDER_MODE = 0o711
"""QEMU's own user must get through to the images, which stay private themselves."""
_SUFFIX = {"raw": "img", "qcow2": "qcow2", "vmdk": "vmdk"}
_ATTACHABLE = frozenset({"raw", "qcow2"})


def rescue_point(
    *,
    repository: Repository,
    point: RestorePoint,
    folder: Path,
    options: RescueOptions,
    cancel: CancelToken,
    progress: ProgressSink,
) -> PointRescue:
    """Write the point to `folder`, which must be new, empty, or of a broken-off run for the same
    point and format. The repository's index must be complete.

    Damage ends up in the result. Raises TargetExists, TargetUnavailable, OutOfSpace, Cancelled;
    what is complete by then stays, and counts when it is done again.
    """
    return _Rescue(repository, point, folder.absolute(), options, cancel, progress).run()


class _Rescue:
    def __init__(
        self,
        repository: Repository,
        point: RestorePoint,
        folder: Path,
        options: RescueOptions,
        cancel: CancelToken,
        progress: ProgressSink,
    ) -> None:
        self._repository = repository
        self._point = point
        self._folder = folder
        self._options = options
        self._cancel = cancel
        self._progress = progress
        self._result = PointRescue(folder=folder)
        self._names: set[str] = {README.lower(), DEFINITION.lower(), _LIST}
        self._artifacts: dict[str, bytes] = {}
        self._before: Mapping[str, SavedFile] = {}
        """What an earlier run completed, by file name."""
        self._writing = ""

    def run(self) -> PointRescue:
        self._prepare()
        manifest = self._point.manifest
        if self._point.suspect:
            self._result.notes.append(f"this point is in doubt: {self._point.suspect}")
        # The small and irreplaceable things first.
        for artifact in manifest.artifacts:
            name = self._free_name(artifact.name, "")
            self._save_artifact(artifact.name, name, artifact.size_bytes)
        for disk in manifest.disks:
            self._cancel.check()
            name = self._free_name(disk.key, f".{_SUFFIX[self._options.format]}")
            self._save_disk(disk, name)
        self._write(DEFINITION, self._definition())
        self._write(README, readme(self._point, self._result, self._options).encode())
        return self._result

    # -- the folder -----------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Raises TargetExists, TargetUnavailable."""
        try:
            self._folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            there = [name for name in os.listdir(self._folder) if not name.startswith(".")]
            if not there:
                self._keep_list()
                return
            listed = _read_list(self._folder / _LIST)
        except OSError as error:
            problem = error.strerror or str(error)
            raise TargetUnavailable(target=str(self._folder), problem=problem) from error
        if listed is None or listed.head != self._head():
            raise TargetExists(path=f"{self._folder} (it is not empty)")
        self._before = {
            file.name: file for file in listed.files if (self._folder / file.name).exists()
        }
        self._writing = listed.writing

    def _head(self) -> dict[str, str]:
        return {"point": self._point.id, "format": self._options.format}

    def _keep_list(self) -> None:
        """What is complete so far, now or from before. Replaced as a whole."""
        noted = {file.name for file in self._result.files}
        done = [file for file in self._result.files if file.is_there]
        done += [file for file in self._before.values() if file.name not in noted]
        document = {
            **self._head(),
            "writing": self._writing,
            "files": [
                {
                    "name": file.name,
                    "what": file.what,
                    "disk": file.is_disk,
                    "size_bytes": file.size_bytes,
                    "problem": file.problem,
                    "holes": [list(hole) for hole in file.holes],
                }
                for file in done
            ],
        }
        self._write(_LIST, json.dumps(document, indent=1).encode())

    def _write(self, name: str, data: bytes | None) -> None:
        """A small file that may be replaced; none for None."""
        path = self._folder / name
        temporary = self._folder / f".{name}.tmp"
        try:
            if data is None:
                path.unlink(missing_ok=True)
                return
            temporary.write_bytes(data)
            temporary.chmod(0o600)
            temporary.replace(path)
        except OSError as error:
            problem = error.strerror or str(error)
            raise TargetUnavailable(target=str(path), problem=problem) from error

    def _free_name(self, text: str, suffix: str) -> str:
        """A harmless file name, different from all others even where case does not count."""
        stem = _UNSAFE.sub("_", text).strip(".") or "unnamed"
        number = 1
        while (name := f"{stem}{f'-{number}' if number > 1 else ''}{suffix}").lower() in (
            self._names
        ):
            number += 1
        self._names.add(name.lower())
        return name

    # -- what is saved --------------------------------------------------------------------------

    def _begin(self, name: str) -> None:
        """A file of that name is ours from here on. One that the list does not have was given its
        name just before a run broke off, and is written again."""
        if name == self._writing:
            self._write(name, None)
        self._writing = name
        self._keep_list()

    def _save_artifact(self, what: str, name: str, size_bytes: int) -> None:
        problem = ""
        record = next(item for item in self._point.manifest.artifacts if item.name == what)
        try:
            data = self._repository.read_artifact(record)
        except DAMAGE as error:
            problem = error.message
        else:
            self._artifacts[what] = data
            if name not in self._before:
                self._begin(name)
                with new_target(self._folder / name, "raw", len(data)) as target:
                    writer = target.open_writer()
                    writer.write(0, memoryview(data))
                    writer.close()
        self._note(
            SavedFile(name=name, what=what, is_disk=False, size_bytes=size_bytes, problem=problem)
        )

    def _save_disk(self, disk: DiskRecord, name: str) -> None:
        if name in self._before:
            self._note(self._before[name])
            self._progress.message(f"{name}: is there already")
            return
        self._begin(name)
        problem, holes, written_bytes = "", list[tuple[int, int]](), 0
        try:
            done = restore_disk(
                repository=self._repository,
                disk=disk,
                output=self._folder / name,
                format=self._options.format,
                cancel=self._cancel,
                progress=self._progress,
                fill_holes=self._options.fill_holes,
            )
        except DAMAGE as error:
            problem = error.message
        else:
            written_bytes = done.written_bytes
            holes = [(hole.offset, hole.length) for hole in done.holes]
            if holes:
                lost = format_bytes(sum(length for _, length in holes))
                problem = f"{lost} LOST: they could not be read and hold zeroes instead"
        self._note(
            SavedFile(
                name=name,
                what=disk.key,
                is_disk=True,
                size_bytes=disk.size_bytes,
                written_bytes=written_bytes,
                problem=problem,
                holes=holes,
            )
        )

    def _note(self, file: SavedFile) -> None:
        self._result.files.append(file)
        self._keep_list()
        self._progress.message(f"{file.name}: {file.problem or 'saved'}")

    def _definition(self) -> bytes | None:
        """For `virsh define`: the stored definition over the files in this folder; None when there
        is none to make it of."""
        stored = self._artifacts.get(DOMAIN)
        if stored is None or self._options.format not in _ATTACHABLE:
            return None
        disks = {
            file.what: DiskFile(path=self._folder / file.name, format=self._options.format)
            for file in self._result.files
            if file.is_disk and file.is_there
        }
        nvram = next(
            (self._folder / file.name for file in self._result.files if file.what == NVRAM), None
        )
        try:
            root = parse_xml(stored)
            identity = Identity(
                name=root.findtext("name") or self._point.manifest.vm.name,
                uuid=root.findtext("uuid") or self._point.manifest.vm.id,
                keep_macs=True,
            )
            made = restored_xml(
                stored,
                identity=identity,
                isolated=True,
                disks=disks,
                nvram=nvram if NVRAM in self._artifacts else None,
            )
        except HoldfastError as error:
            self._result.notes.append(f"no {DEFINITION} was made: {error.message}")
            return None
        if made.dropped:
            left_out = ", ".join(sorted(set(made.dropped)))
            self._result.notes.append(f"{DEFINITION} leaves out: {left_out}")
        return made.xml.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    """What an earlier run left on record."""

    head: Mapping[str, str]
    files: Sequence[SavedFile]
    writing: str


def _read_list(path: Path) -> _Listed | None:
    """None when there is no such list that can be understood."""
    try:
        document = cast("dict[str, Any]", json.loads(path.read_bytes()))
        files = [
            SavedFile(
                name=str(item["name"]),
                what=str(item["what"]),
                is_disk=bool(item["disk"]),
                size_bytes=int(item["size_bytes"]),
                problem=str(item["problem"]),
                holes=[(int(offset), int(length)) for offset, length in item["holes"]],
            )
            for item in document["files"]
        ]
        return _Listed(
            head={"point": str(document["point"]), "format": str(document["format"])},
            files=files,
            writing=str(document["writing"]),
        )
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
