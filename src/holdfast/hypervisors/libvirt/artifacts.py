"""What a VM is besides its disks: definition, UEFI variables, TPM state. Enter at
`collect_artifacts`."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

import libvirt

from holdfast.hypervisors.driver import Artifact
from holdfast.hypervisors.libvirt.connection import LibvirtConnection
from holdfast.hypervisors.libvirt.domain_xml import parse_domain
from holdfast.hypervisors.libvirt.errors import libvirt_errors

DOMAIN_XML = "domain.xml"
NVRAM = "nvram"
TPM = "tpm.tar"

_SWTPM_ROOT = Path("/var/lib/libvirt/swtpm")
_ARTIFACT_LIMIT_BYTES = 64 * 1024 * 1024
"""UEFI variable stores are at most some MiB, TPM states some hundred KiB."""


def collect_artifacts(
    domain: libvirt.virDomain, connection: LibvirtConnection
) -> tuple[Sequence[Artifact], Sequence[str]]:
    """(artifacts, notes on what could not be read). Passwords in the definition (VNC, SPICE) are
    left out."""
    with libvirt_errors(connection.platform, "describe a VM"):
        xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
        live = parse_domain(domain.XMLDesc())
    artifacts = [Artifact(name=DOMAIN_XML, data=xml.encode())]
    notes: list[str] = []
    if not connection.address.is_local:
        if live.nvram_path or live.has_emulated_tpm:
            notes.append("firmware state was not kept: the host's files are out of reach")
        return artifacts, notes
    try:
        if live.nvram_path:
            artifacts.append(Artifact(name=NVRAM, data=_read_limited(Path(live.nvram_path))))
    except OSError as error:
        notes.append(f"the UEFI variables were not kept: {error}")
    try:
        if live.has_emulated_tpm:
            artifacts.append(Artifact(name=TPM, data=_tar_of(_SWTPM_ROOT / live.uuid)))
    except OSError as error:
        notes.append(f"the TPM's state was not kept: {error}")
    return artifacts, notes


def _read_limited(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_ARTIFACT_LIMIT_BYTES + 1)
    if len(data) > _ARTIFACT_LIMIT_BYTES:
        raise OSError(f"{path} is larger than {_ARTIFACT_LIMIT_BYTES} bytes")
    return data


def _tar_of(folder: Path) -> bytes:
    """A tar of the folder's regular files and folders, names relative to it, without owners."""
    total = 0
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        members = sorted(folder.rglob("*"))
        if not members:
            raise OSError(f"{folder} is empty or cannot be read")
        for member in members:
            if member.is_symlink() or not (member.is_file() or member.is_dir()):
                continue
            info = tarfile.TarInfo(str(member.relative_to(folder)))
            if member.is_dir():
                info.type, info.mode = tarfile.DIRTYPE, 0o700
                tar.addfile(info)
                continue
            data = _read_limited(member)
            total += len(data)
            if total > _ARTIFACT_LIMIT_BYTES:
                raise OSError(f"{folder} is larger than {_ARTIFACT_LIMIT_BYTES} bytes")
            info.size, info.mode = len(data), 0o600
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
