"""Platforms (hypervisor connections) and discovery."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from holdfast.api.schemas.common import Input, Name, Output, Time

PlatformKind = Literal["libvirt", "images"]


class LibvirtAddress(Input):
    """A libvirt connection from its parts; the URI is built by the service."""

    transport: Literal["local", "ssh", "tls"] = "local"
    host: Annotated[str, Field(max_length=255)] = ""
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    user: Annotated[str, Field(max_length=100)] = ""
    instance: Literal["system", "session"] = "system"


class PlatformBody(Input):
    """`libvirt` needs `address`, `images` needs `path`."""

    kind: PlatformKind
    name: Name
    address: LibvirtAddress | None = None
    path: Annotated[str, Field(max_length=1000)] | None = None
    secret: Annotated[SecretStr, Field(max_length=16384)] | None = None
    """Write-only. Asked for again when the host changes."""


class PlatformUpdate(Input):
    name: Name | None = None
    address: LibvirtAddress | None = None
    path: Annotated[str, Field(max_length=1000)] | None = None
    secret: Annotated[SecretStr, Field(max_length=16384)] | None = None


class PlatformInfo(Output):
    id: str
    name: str
    kind: PlatformKind
    identity: str
    address: LibvirtAddress | None
    path: str | None
    uri: str
    """As shown to people; without secrets."""
    has_secret: bool
    state: Literal["unknown", "connected", "unreachable"]
    state_message: str
    state_at: Time | None
    vm_count: int
    """VMs that were added from it."""
    can_capture: bool
    """False for remote connections, which give inventory only."""
    can_restore: bool
    created_at: Time


class PlatformTest(Output):
    """Result of trying a connection; a failure is an answer, not an error of the request."""

    ok: bool
    message: str
    hint: str = ""
    vm_count: int | None = None
    version: str = ""


class DiscoveredDisk(Output):
    key: str
    size_bytes: int
    format: str
    path: str
    included: bool
    excluded_reason: str
    tracks_changes: bool


class DiscoveredNic(Output):
    mac: str
    network: str
    model: str


class DiscoveredVm(Output):
    platform_vm_id: str
    name: str
    power: Literal["running", "paused", "shut_off", "unknown"]
    firmware: Literal["bios", "uefi", "none"]
    vcpus: int
    memory_bytes: int
    size_bytes: int
    disks: list[DiscoveredDisk]
    networks: list[DiscoveredNic]
    vm_id: str | None
    """The VM's id here when it was added already."""


class Discovery(Output):
    platform_id: str
    discovered_at: Time
    duration_seconds: float
    vms: list[DiscoveredVm]
    total: int


class AddVms(Input):
    platform_vm_ids: Annotated[list[str], Field(min_length=1, max_length=5000)]
    tags: Annotated[list[str], Field(max_length=20)] = Field(default_factory=list)


class AddedVm(Output):
    platform_vm_id: str
    vm_id: str | None
    name: str
    added: bool
    problem: str = ""


class AddedVms(Output):
    added: int
    already_known: int
    failed: int
    vms: list[AddedVm]
