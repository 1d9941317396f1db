"""From a platform's row to a connection, with a bound on how long anyone waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from holdfast.api.schemas.platforms import LibvirtAddress as AddressBody
from holdfast.catalog.models import Platform
from holdfast.core.errors import InvalidInput
from holdfast.hypervisors.errors import PlatformUnreachable
from holdfast.hypervisors.platforms import OpenPlatform, PlatformAddress, open_platform

CONNECT_TIMEOUT_S = 30.0
_Result = TypeVar("_Result")


def address_from_body(
    kind: str, address: AddressBody | None, path: str | None
) -> tuple[PlatformAddress, dict[str, Any]]:
    """The address, and what to keep of it. Raises InvalidInput."""
    if kind == "images":
        if not path or address is not None:
            raise InvalidInput(what="platform", problem="images needs a path and no address")
        return PlatformAddress(kind="images", path=path), {"path": path}
    if address is None or path is not None:
        raise InvalidInput(what="platform", problem="libvirt needs an address and no path")
    from holdfast.hypervisors.libvirt.address import LibvirtAddress, Mode, Transport

    parsed = LibvirtAddress(
        transport=Transport(address.transport),
        mode=Mode(address.instance),
        host=address.host,
        user=address.user,
        port=address.port,
    )
    kept = {"address": address.model_dump(), "uri": parsed.uri}
    return PlatformAddress(kind="libvirt", uri=parsed.uri), kept


def address_of(row: Platform) -> PlatformAddress:
    if row.kind == "images":
        return PlatformAddress(kind="images", path=str(row.settings["path"]))
    return PlatformAddress(kind="libvirt", uri=str(row.settings["uri"]))


def is_remote(row: Platform) -> bool:
    """The platform's disks are on another host: only the inventory can be read."""
    address = cast("dict[str, Any]", row.settings.get("address") or {})
    return row.kind == "libvirt" and address.get("transport") != "local"


def with_platform(
    address: PlatformAddress, scratch_root: Path, ask: Callable[[OpenPlatform], _Result]
) -> _Result:
    """Connect, ask, hang up. Raises PlatformUnreachable, also when there is no answer in time:
    a host that is silent lets libvirt wait for minutes, and a thread cannot be ended."""
    answers: list[_Result] = []
    problems: list[BaseException] = []

    def work() -> None:
        try:
            platform = open_platform(address, scratch_root=scratch_root)
            try:
                answers.append(ask(platform))
            finally:
                platform.close()
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread
            problems.append(error)

    thread = threading.Thread(target=work, name="platform", daemon=True)
    thread.start()
    thread.join(CONNECT_TIMEOUT_S)
    if problems:
        raise problems[0]
    if not answers:
        shown = address.uri or address.path
        problem = f"no answer within {CONNECT_TIMEOUT_S:.0f} seconds"
        raise PlatformUnreachable(platform=shown, problem=problem)
    return answers[0]
