"""Every component of a connection URI is allow-listed."""

from __future__ import annotations

import pytest

from holdfast.core.errors import InvalidInput
from holdfast.hypervisors.libvirt.address import LibvirtAddress, Mode, Transport


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("qemu:///system", "qemu:///system"),
        ("qemu:///session", "qemu:///session"),
        ("qemu+ssh://root@kvm1.example:2222/system",) * 2,
        ("qemu+ssh://kvm1/session",) * 2,
        ("qemu+ssh://backup@[fd00::1]/system",) * 2,
        ("qemu+unix:///system?socket=/run/libvirt/libvirt-sock",) * 2,
        ("qemu+tls://kvm1.example/system",) * 2,
    ],
)
def test_rendered_as_parsed(text: str, uri: str) -> None:
    address = LibvirtAddress.parse(text)
    assert address.uri.removesuffix("?no_tty=1") == uri
    assert address.platform == f"libvirt:{uri}"
    assert LibvirtAddress.parse(address.uri) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "qemu:///",
        "qemu:///system/",
        "qemu:///root",
        "qemu://host/system",
        "test:///default",
        "qemu+ext://host/system?command=/bin/sh",
        "qemu+ssh://host/system?command=/bin/sh",
        "qemu+ssh://host/system?netcat=/tmp/x",
        "qemu+ssh://host/system?keyfile=/tmp/x",
        "qemu+ssh://host/system?no_verify=1",
        "qemu+ssh://host/system?socket=/tmp/x",
        "qemu+ssh://-oProxyCommand=x/system",
        "qemu+ssh://-l@host/system",
        "qemu+ssh://user:password@host/system",
        "qemu+ssh://host:0/system",
        "qemu+ssh://host:99999/system",
        "qemu+ssh://host:x/system",
        "qemu+ssh:///system",
        "qemu+ssh://host/system#fragment",
        "qemu+ssh://ho%20st/system",
        "qemu+ssh://host/system\r\nx",
        "qemu+ssh://host /system",
        "qemu+ssh://hōst/system",
        "qemu+tls://host/system?no_verify=1",
        "qemu+tls://user@host/system",
        "qemu+tls://host/session",
        "qemu+tcp://host/system",
        "qemu+unix:///system",
        "qemu+unix:///system?socket=relative",
        "qemu+unix:///system?socket=/a/../b",
        "qemu+unix:///system?socket=/a&socket=/b",
        "qemu+unix:///system?socket=/a%0ab",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        LibvirtAddress.parse(text)


def test_built_from_parts() -> None:
    address = LibvirtAddress(
        transport=Transport.SSH, mode=Mode.SYSTEM, host="kvm1", user="backup", port=22
    )
    assert address.uri == "qemu+ssh://backup@kvm1:22/system?no_tty=1"
    assert not address.is_local
    with pytest.raises(InvalidInput):
        LibvirtAddress(transport=Transport.SSH, host="-oProxyCommand=x")
