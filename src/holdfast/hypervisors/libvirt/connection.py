"""One connection to a libvirt daemon that survives the daemon's restart.

Owns the vendor handle: nobody else opens, keeps or closes a `virConnect` or keeps a `virDomain`
across calls. Enter at `LibvirtConnection.open`.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import libvirt

from holdfast.core.errors import HoldfastError
from holdfast.hypervisors.errors import PlatformUnreachable
from holdfast.hypervisors.libvirt.address import LibvirtAddress
from holdfast.hypervisors.libvirt.errors import LibvirtObjectMissing, libvirt_errors

_RECONNECT_PAUSE_S = 0.2


def _discard(_context: object, _error: tuple[object, ...]) -> None:
    """libvirt prints every error to stderr unless it has a handler; ours travel as exceptions."""


libvirt.registerErrorHandler(_discard, None)


class LibvirtConnection:
    """Thread-safe. Reconnects when the daemon was restarted since the last call."""

    def __init__(self, address: LibvirtAddress) -> None:
        self.address = address
        self._lock = threading.Lock()
        self._handle: libvirt.virConnect | None = None

    @classmethod
    def open(cls, address: LibvirtAddress) -> LibvirtConnection:
        """Connect. Raises PlatformUnreachable."""
        connection = cls(address)
        connection.handle()
        return connection

    @property
    def platform(self) -> str:
        return self.address.platform

    def handle(self) -> libvirt.virConnect:
        """A handle that was alive a moment ago. Raises PlatformUnreachable."""
        with self._lock:
            if self._handle is not None and self._is_alive(self._handle):
                return self._handle
            self._handle = None
            try:
                with libvirt_errors(self.platform, "open a connection"):
                    self._handle = libvirt.open(self.address.uri)
            except PlatformUnreachable:
                raise
            except HoldfastError as error:
                # A daemon that is not there is a plain system error (its socket is missing).
                raise PlatformUnreachable(
                    platform=self.platform, problem=str(error.params.get("problem", error))
                ) from error
            return self._handle

    def wait_until_reachable(self, timeout_s: float) -> None:
        """Return once the daemon answers. Raises PlatformUnreachable after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self.handle()
            except PlatformUnreachable:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_RECONNECT_PAUSE_S)
            else:
                return

    def domain(self, uuid: str) -> libvirt.virDomain:
        """The domain now. Look it up for each step: a handle does not survive a restart of the
        daemon. Raises LibvirtObjectMissing, PlatformUnreachable."""
        handle = self.handle()
        with libvirt_errors(self.platform, f"find the VM {uuid}"):
            return handle.lookupByUUIDString(uuid)

    def close(self) -> None:
        """Drop the connection. A later call opens it again."""
        with self._lock:
            handle, self._handle = self._handle, None
        if handle is not None:
            with libvirt_errors(self.platform, "close the connection"):
                handle.close()

    def _is_alive(self, handle: libvirt.virConnect) -> bool:
        """Asks the daemon: `isAlive` alone reports a socket that has not been used since the
        daemon ended as alive."""
        try:
            with libvirt_errors(self.platform, "ask for its version"):
                handle.getLibVersion()
        except PlatformUnreachable:
            return False
        return True


def is_active(domain: libvirt.virDomain, platform: str) -> bool:
    """Whether the domain has a QEMU process now."""
    try:
        with libvirt_errors(platform, "read the VM's state"):
            return bool(domain.isActive())
    except LibvirtObjectMissing:
        return False


def running_job(domain: libvirt.virDomain, platform: str) -> dict[str, Any] | None:
    """The statistics of the job that occupies the domain, or None. Answers at once, also while
    another client's call waits for the domain."""
    with libvirt_errors(platform, "ask for the VM's running job"):
        statistics = domain.jobStats()
    return None if statistics.get("type") == libvirt.VIR_DOMAIN_JOB_NONE else statistics
