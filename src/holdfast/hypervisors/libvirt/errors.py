"""What libvirt says, in our terms. The only place that knows libvirt's error numbers: every call
into libvirt runs inside `libvirt_errors`, and no `libvirtError` leaves this package."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import libvirt

from holdfast.core.errors import Category, HoldfastError, Retry
from holdfast.hypervisors.errors import PlatformUnreachable, VmBusy


@dataclass(kw_only=True, eq=False)
class LibvirtFault(HoldfastError):
    """libvirt refused or failed a call. `number` is its error number (virErrorNumber)."""

    code = "libvirt_fault"
    retry = Retry.LATER
    template = "{platform} refused to {action}: {problem}"
    hint = "libvirt's own log says more: /var/log/libvirt/libvirtd.log or journalctl -u libvirtd"
    platform: str
    action: str
    problem: str
    number: int


@dataclass(kw_only=True, eq=False)
class LibvirtObjectMissing(LibvirtFault):
    """The domain, checkpoint, job, pool or volume named in a call does not exist (any more)."""

    code = "libvirt_object_missing"
    category = Category.NOT_FOUND
    retry = Retry.NEVER
    template = "{platform} could not {action}: {problem}"
    hint = ""


@dataclass(kw_only=True, eq=False)
class ChangeRecordBroken(LibvirtFault):
    """libvirt finds a checkpoint's bitmap missing or inconsistent."""

    code = "change_record_broken"
    retry = Retry.NOW
    hint = "The next backup reads the disk and makes a new checkpoint"


@dataclass(kw_only=True, eq=False)
class VmNotRunning(LibvirtFault):
    """The call needs a running domain."""

    code = "vm_not_running"
    template = "{platform} could not {action}: {problem}"
    hint = "Run it again once the VM's state has settled"


_MISSING = frozenset(
    {
        libvirt.VIR_ERR_NO_DOMAIN,
        libvirt.VIR_ERR_NO_DOMAIN_CHECKPOINT,
        libvirt.VIR_ERR_NO_DOMAIN_BACKUP,
        libvirt.VIR_ERR_NO_STORAGE_POOL,
        libvirt.VIR_ERR_NO_STORAGE_VOL,
    }
)
_UNREACHABLE = frozenset(
    {
        libvirt.VIR_ERR_NO_CONNECT,
        libvirt.VIR_ERR_INVALID_CONN,
        libvirt.VIR_ERR_RPC,
        libvirt.VIR_ERR_AUTH_FAILED,
        libvirt.VIR_ERR_AUTH_CANCELLED,
        libvirt.VIR_ERR_AUTH_UNAVAILABLE,
    }
)
_BUSY = frozenset({libvirt.VIR_ERR_OPERATION_TIMEOUT, libvirt.VIR_ERR_RESOURCE_BUSY})
_TRANSPORT_DOMAINS = frozenset({libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE})
"""Errors that the client library raised about its own connection, whatever their number: a
closed socket is an internal error or a system error there."""


@contextmanager
def libvirt_errors(platform: str, action: str, *, vm_name: str = "") -> Generator[None]:
    """Map libvirt's error to ours. `action` completes "libvirt refused to ..."."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise translate(error, platform=platform, action=action, vm_name=vm_name) from error


def translate(
    error: libvirt.libvirtError, *, platform: str, action: str, vm_name: str = ""
) -> HoldfastError:
    """The error of ours that says the same and what the caller may do next."""
    number = error.get_error_code()
    problem = (error.get_error_message() or str(error)).strip()
    if number in _UNREACHABLE or error.get_error_domain() in _TRANSPORT_DOMAINS:
        return PlatformUnreachable(platform=platform, problem=problem)
    if number in _BUSY:
        return VmBusy(name=vm_name or platform, problem=problem)
    kind = LibvirtFault
    if number in _MISSING:
        kind = LibvirtObjectMissing
    elif number == libvirt.VIR_ERR_CHECKPOINT_INCONSISTENT:
        kind = ChangeRecordBroken
    elif number == libvirt.VIR_ERR_OPERATION_INVALID:
        kind = VmNotRunning
    return kind(platform=platform, action=action, problem=problem, number=number)
