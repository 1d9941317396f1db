"""Addresses of libvirt daemons. Owns the one place where a connection URI is read or written.

A URI is parsed into an allow-listed value and rendered from it: libvirt's own syntax can name
programs to run (`command=`, `qemu+ext`), options of ssh and key files, none of which may come
from a form or a configuration file. Enter at `LibvirtAddress.parse`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from urllib.parse import parse_qsl, quote, urlsplit

from holdfast.core.errors import InvalidInput


class Transport(Enum):
    LOCAL = "local"
    UNIX = "unix"
    SSH = "ssh"
    TLS = "tls"


class Mode(Enum):
    SYSTEM = "system"
    SESSION = "session"


_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|[0-9A-Fa-f:]{2,45}")
"""A DNS name or an address. It starts with a letter, digit or colon: never with `-`, which ssh
would take for an option."""
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_SCHEMES = {
    "qemu": Transport.LOCAL,
    "qemu+unix": Transport.UNIX,
    "qemu+ssh": Transport.SSH,
    "qemu+tls": Transport.TLS,
}
_WHAT = "libvirt address"


@dataclass(frozen=True, slots=True, kw_only=True)
class LibvirtAddress:
    """Where a libvirt daemon is and how to reach it. Valid by construction."""

    transport: Transport = Transport.LOCAL
    mode: Mode = Mode.SYSTEM
    host: str = ""
    user: str = ""
    port: int | None = None
    socket: str = ""

    def __post_init__(self) -> None:
        remote = self.transport in {Transport.SSH, Transport.TLS}
        if remote and not _HOST.fullmatch(self.host):
            raise _refused("the host name is missing or has characters no host name has")
        if not remote and (self.host or self.user or self.port is not None):
            raise _refused("host, user and port need the transport ssh or tls")
        if self.user and (self.transport is not Transport.SSH or not _USER.fullmatch(self.user)):
            raise _refused("a user name of letters, digits, dot, dash is possible with ssh only")
        if self.port is not None and not 0 < self.port < 65536:
            raise _refused("the port must lie between 1 and 65535")
        if bool(self.socket) != (self.transport is Transport.UNIX):
            raise _refused("a socket path belongs to the transport unix, and is needed there")
        if self.socket and not _is_plain_path(self.socket):
            raise _refused("the socket path must be absolute, plain ASCII without `..`")
        if self.transport is Transport.TLS and self.mode is Mode.SESSION:
            raise _refused("a session daemon cannot be reached by TLS")

    @property
    def is_local(self) -> bool:
        """Whether the daemon's files are this host's files."""
        return self.transport in {Transport.LOCAL, Transport.UNIX}

    @property
    def uri(self) -> str:
        """What libvirt is given."""
        if self.transport is Transport.LOCAL:
            return f"qemu:///{self.mode.value}"
        if self.transport is Transport.UNIX:
            return f"qemu+unix:///{self.mode.value}?socket={quote(self.socket)}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port is not None else ""
        # no_tty: ssh must never wait for a password that nobody is there to type.
        query = "?no_tty=1" if self.transport is Transport.SSH else ""
        scheme = f"qemu+{self.transport.value}"
        return f"{scheme}://{user}{host}{port}/{self.mode.value}{query}"

    @property
    def platform(self) -> str:
        """The platform's identity as recorded in restore points."""
        return f"libvirt:{self.uri.removesuffix('?no_tty=1')}"

    @classmethod
    def parse(cls, text: str) -> LibvirtAddress:
        """The address that `text` names. Raises InvalidInput for anything not allow-listed."""
        if not text.isascii() or not text.isprintable() or "\\" in text or " " in text:
            raise _refused("it has control, blank or non-ASCII characters")
        try:
            parts = urlsplit(text)
            port = parts.port
            query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        except ValueError as error:
            raise _refused("it is not a well-formed URI") from error
        transport = _SCHEMES.get(parts.scheme)
        if transport is None:
            raise _refused(f"the scheme must be one of {', '.join(_SCHEMES)}")
        if parts.fragment or parts.password is not None:
            raise _refused("a password or fragment has no place in it")
        if parts.path not in {"/system", "/session"}:
            raise _refused("the path must be /system or /session")
        return cls(
            transport=transport,
            mode=Mode(parts.path[1:]),
            host=parts.hostname or "",
            user=parts.username or "",
            port=port,
            socket=_socket_of(transport, query),
        )


def _socket_of(transport: Transport, query: list[tuple[str, str]]) -> str:
    socket = ""
    for key, value in query:
        if key == "socket" and transport is Transport.UNIX and not socket:
            socket = value
        elif (key, value) != ("no_tty", "1") or transport is not Transport.SSH:
            raise _refused(f"the option {key!r} is not allowed (or given twice)")
    return socket


def _is_plain_path(text: str) -> bool:
    path = PurePosixPath(text)
    return bool(re.fullmatch(r"/[A-Za-z0-9._/@:+-]+", text)) and ".." not in path.parts


def _refused(problem: str) -> InvalidInput:
    return InvalidInput(what=_WHAT, problem=problem)
