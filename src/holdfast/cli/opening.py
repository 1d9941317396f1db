"""From arguments to things: the repository behind a path and a passphrase, the driver and VM
behind a source."""

from __future__ import annotations

import getpass
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from holdfast import repository
from holdfast.core.errors import InvalidInput
from holdfast.repository import (
    Credential,
    StoreOptions,
    is_recovery_key,
    is_s3_url,
    open_store,
    parse_recovery_key,
    read_config,
)
from holdfast.repository.errors import HeaderDamaged
from holdfast.repository.store.store import ObjectStore
from holdfast.repository.unlocking import Unlocking
from holdfast.settings import Settings, read_passphrase, read_s3_access

if TYPE_CHECKING:
    from holdfast.hypervisors.driver import HypervisorDriver, VirtualMachine
    from holdfast.repository import Repository
    from holdfast.repository.mending import Mended
    from holdfast.repository.rescue import Rescue

_LONGEST_KIT = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What `holdfast backup` was pointed at."""

    driver: HypervisorDriver
    vm: VirtualMachine


def open_repository(
    location: str,
    passphrase_file: Path | None,
    settings: Settings,
    *,
    cached: bool = True,
    for_list: bool = False,
) -> Repository:
    """Looks at the repository first, so that a wrong path is said before a passphrase is asked.
    Without `cached` everything is read from the repository itself. `for_list`: all points are
    asked for next."""
    store = open_store(location, _store_options(location, settings, cached=cached))
    return _opened(store, passphrase_file, settings, for_list=for_list)[0]


def open_without_key(location: str, settings: Settings) -> ObjectStore:
    """For what anybody may look at."""
    return open_store(location, _store_options(location, settings, cached=False))


def open_rescue(
    location: str, kit: Path | None, passphrase_file: Path | None, settings: Settings
) -> Rescue:
    """Past what of its frame is missing or damaged. Writes nothing, caches nothing."""
    from holdfast.repository.rescue import open_for_rescue

    store = open_store(location, _store_options(location, settings, cached=False))
    return open_for_rescue(store, _kit(kit) if kit else _credential(passphrase_file, settings))


def open_for_repair(
    location: str,
    kit: Path | None,
    passphrase_file: Path | None,
    settings: Settings,
    *,
    without_proof: bool,
) -> tuple[Repository, list[Mended]]:
    """The repository, and what of its frame had to be put right before anybody could open it."""
    from holdfast.repository import Repository
    from holdfast.repository.mending import mend_header

    store = open_store(location, _store_options(location, settings, cached=False))
    with suppress(HeaderDamaged):
        read_config(store)
    credential = _kit(kit) if kit else _credential(passphrase_file, settings)
    mended = mend_header(store, credential, without_proof=without_proof)
    return Repository.open(store, credential), mended


def open_with_credential(
    location: str, passphrase_file: Path | None, settings: Settings
) -> tuple[Repository, Credential]:
    """For changing what opens the repository: also what opened it now."""
    store = open_store(location, _store_options(location, settings, cached=False))
    return _opened(store, passphrase_file, settings)


def new_passphrase(file: Path | None) -> Credential:
    """A further passphrase: from the file, or asked for twice. Never the one of the settings,
    which is that of today."""
    text = read_passphrase(file) if file else _ask_twice("New repository passphrase: ")
    if is_recovery_key(text):
        problem = "begins like a recovery key and would be taken for one"
        raise InvalidInput(what="new passphrase", problem=problem)
    return Credential.passphrase(text)


def new_repository_credential(passphrase_file: Path | None, settings: Settings) -> Credential:
    """A new passphrase: from the file, or asked for twice."""
    path = passphrase_file or settings.passphrase_file
    if path is not None:
        return Credential.passphrase(read_passphrase(path))
    return Credential.passphrase(_ask_twice("New repository passphrase: "))


def new_store(location: str, settings: Settings) -> ObjectStore:
    """A store at a path or URL where there may be nothing yet."""
    return repository.new_store(location, _store_options(location, settings, cached=False))


def existing_store(location: str, settings: Settings) -> ObjectStore:
    """The store of a repository, without opening that."""
    return open_store(location, _store_options(location, settings, cached=False))


def open_source(text: str, settings: Settings, *, format: str | None, name: str | None) -> Source:
    """`libvirt:URI/VM`, or the path of an image or a folder of images.

    Raises InvalidInput and the errors of the drivers.
    """
    scheme, colon, rest = text.partition(":")
    if colon and scheme == "libvirt":
        return _libvirt_source(rest, settings, format)
    if colon and scheme == "vsphere":
        raise InvalidInput(what=text, problem="vSphere is not supported by this version")
    from holdfast.hypervisors.images.driver import ImagesDriver

    driver = ImagesDriver(Path(text), format=format, name=name)
    return Source(driver=driver, vm=driver.list_vms()[0])


def point_bytes(text: str) -> bytes:
    """A path inside a guest as the user's bytes."""
    return os.fsencode(text)


def _opened(
    store: ObjectStore, passphrase_file: Path | None, settings: Settings, *, for_list: bool = False
) -> tuple[Repository, Credential]:
    """What needs no key yet is done while it is derived: the import of the rest of the program,
    half of the start, and reading what a list needs."""
    header = read_config(store)
    credential = _credential(passphrase_file, settings)
    unlocking = Unlocking(store, credential, header)
    from holdfast.repository import Repository
    from holdfast.repository.manifests import fetch_for_list

    fetched = fetch_for_list(store) if for_list else None
    opened = Repository.open_unlocking(unlocking)
    if fetched is not None:
        opened.manifests.take(fetched)
    return opened, credential


def _store_options(location: str, settings: Settings, *, cached: bool) -> StoreOptions:
    """S3's credentials are read only where they are needed."""
    if not is_s3_url(location):
        return StoreOptions()
    return StoreOptions(
        s3=read_s3_access(settings.s3), cache_root=settings.cache_root if cached else None
    )


def _libvirt_source(rest: str, settings: Settings, format: str | None) -> Source:
    uri, slash, name = rest.rpartition("/")
    if not slash or not uri or not name:
        problem = "write it as libvirt:URI/VM, such as libvirt:qemu:///system/web01"
        raise InvalidInput(what=f"libvirt:{rest}", problem=problem)
    if format is not None:
        raise InvalidInput(what="--format", problem="libvirt says the format of each disk itself")
    from holdfast.hypervisors.libvirt.driver import LibvirtDriver

    driver = LibvirtDriver.connect(uri, scratch_root=settings.scratch_root)
    return Source(driver=driver, vm=driver.find_vm(name))


def _credential(passphrase_file: Path | None, settings: Settings) -> Credential:
    path = passphrase_file or settings.passphrase_file
    text = read_passphrase(path) if path else _ask("Repository passphrase or recovery key: ")
    return parse_recovery_key(text) if is_recovery_key(text) else Credential.passphrase(text)


def _kit(path: Path) -> Credential:
    """The key in a saved recovery kit. Raises InvalidInput."""
    what = f"recovery kit {path}"
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST_KIT).decode(errors="replace")
    except OSError as error:
        raise InvalidInput(what=what, problem=f"cannot be read: {error.strerror}") from error
    keys = [line for line in text.splitlines() if is_recovery_key(line)]
    if len(keys) != 1:
        problem = f"{len(keys) or 'no'} lines of it begin with HFK1-, where one should"
        raise InvalidInput(what=what, problem=problem)
    return parse_recovery_key(keys[0])


def _ask_twice(prompt: str) -> str:
    first = _ask(prompt)
    if first != _ask("The same again: "):
        raise InvalidInput(what="passphrase", problem="the two are not the same")
    return first


def _ask(prompt: str) -> str:
    if not sys.stdin.isatty():
        problem = "none given: set HOLDFAST_PASSPHRASE_FILE or pass --passphrase-file"
        raise InvalidInput(what="passphrase", problem=problem)
    answer = getpass.getpass(prompt)
    if not answer:
        raise InvalidInput(what="passphrase", problem="it must not be empty")
    return answer
