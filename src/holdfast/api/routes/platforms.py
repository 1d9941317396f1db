"""Hypervisor connections: add, change, test, discover, take over VMs."""

from __future__ import annotations

from typing import Annotated, Literal, cast

from fastapi import APIRouter, Path

from holdfast.api.access import Caller, requires
from holdfast.api.context import Context, ServiceContext
from holdfast.api.paging import ShortPage, part_of
from holdfast.api.platform_access import (
    address_from_body,
    address_of,
    is_remote,
    with_platform,
)
from holdfast.api.schemas.common import Page
from holdfast.api.schemas.platforms import (
    AddedVm,
    AddedVms,
    AddVms,
    DiscoveredDisk,
    DiscoveredNic,
    DiscoveredVm,
    Discovery,
    LibvirtAddress,
    PlatformBody,
    PlatformInfo,
    PlatformTest,
    PlatformUpdate,
)
from holdfast.catalog import inventory
from holdfast.catalog.audit import record
from holdfast.catalog.models import Platform
from holdfast.catalog.notices import announce
from holdfast.core.errors import HoldfastError
from holdfast.core.ids import uuid7
from holdfast.hypervisors import driver as hypervisor
from holdfast.hypervisors.errors import VmNotFound
from holdfast.hypervisors.platforms import OpenPlatform, PlatformAddress, platform_identity
from holdfast.policy.access import Permission
from holdfast.repository import check_tag

router = APIRouter(prefix="/platforms", tags=["platforms"])
PlatformId = Annotated[str, Path(max_length=100)]
_MANAGE = [requires(Permission.PLATFORM_MANAGE, everywhere=True)]
_DISCOVER = [requires(Permission.INVENTORY_MANAGE, everywhere=True)]


@router.get("", dependencies=[requires(Permission.VIEW)])
def list_platforms(context: Context, caller: Caller, page: ShortPage) -> Page[PlatformInfo]:
    """All platforms, by name."""
    with context.database.reading() as session:
        counts = inventory.count_vms_by_platform(session, caller.scope(Permission.VIEW))
        rows = inventory.list_platforms(session)
        items = [_info(row, counts.get(row.id, 0)) for row in rows]
    part = part_of(items, page)
    return Page(items=list(part.rows), total=part.total, next_cursor=part.next_cursor)


@router.post("", status_code=201, dependencies=_MANAGE)
def create_platform(body: PlatformBody, context: Context, caller: Caller) -> PlatformInfo:
    """Add a platform. It need not be reachable; `test` tells."""
    address, settings = address_from_body(body.kind, body.address, body.path)
    identity = platform_identity(address)
    with context.database.writing() as session:
        row = Platform(
            id=str(uuid7(context.clock)),
            name=body.name,
            kind=body.kind,
            identity=identity,
            settings=settings,
            sealed_secret=None,
            created_at=context.clock.now(),
            state="unknown",
            state_message="",
            state_at=None,
        )
        if body.secret is not None:
            secret = body.secret.get_secret_value().encode()
            row.sealed_secret = context.sealing.seal("platform", row.id, "sealed_secret", secret)
        session.add(row)
        inventory.flush_unique(session, kind="platform", name=f"{body.name} or {identity}")
        announce(session, "platform", row.id, "created", clock=context.clock)
        record(
            session,
            caller,
            "platform.create",
            clock=context.clock,
            object_kind="platform",
            object_id=row.id,
            details={"name": row.name, "identity": identity},
        )
        return _info(row, 0)


@router.post("/test", dependencies=_MANAGE)
def test_platform(body: PlatformBody, context: Context) -> PlatformTest:
    """Try a connection before it is added; nothing is kept."""
    address, _ = address_from_body(body.kind, body.address, body.path)
    platform_identity(address)
    return _try(context, address)


@router.get("/{platform_id}", dependencies=[requires(Permission.VIEW)])
def get_platform(platform_id: PlatformId, context: Context, caller: Caller) -> PlatformInfo:
    with context.database.reading() as session:
        counts = inventory.count_vms_by_platform(session, caller.scope(Permission.VIEW))
        return _info(inventory.find_platform(session, platform_id), counts.get(platform_id, 0))


@router.patch("/{platform_id}", dependencies=_MANAGE)
def update_platform(
    platform_id: PlatformId, body: PlatformUpdate, context: Context, caller: Caller
) -> PlatformInfo:
    """Change it. With another address a stored secret is dropped unless it is sent again, so that
    it is never handed to another host."""
    with context.database.writing() as session:
        row = inventory.find_platform(session, platform_id)
        if body.name is not None:
            row.name = body.name
        if body.address is not None or body.path is not None:
            address, settings = address_from_body(row.kind, body.address, body.path)
            identity = platform_identity(address)
            if identity != row.identity:
                row.sealed_secret = None
                row.state, row.state_message, row.state_at = "unknown", "", None
            row.identity, row.settings = identity, settings
        if body.secret is not None:
            secret = body.secret.get_secret_value().encode()
            row.sealed_secret = context.sealing.seal("platform", row.id, "sealed_secret", secret)
        inventory.flush_unique(session, kind="platform", name=f"{row.name} or {row.identity}")
        counts = inventory.count_vms_by_platform(session, caller.scope(Permission.VIEW))
        announce(session, "platform", row.id, "changed", clock=context.clock)
        record(
            session,
            caller,
            "platform.update",
            clock=context.clock,
            object_kind="platform",
            object_id=row.id,
            details={"fields": sorted(body.model_fields_set)},
        )
        return _info(row, counts.get(row.id, 0))


@router.delete("/{platform_id}", status_code=204, dependencies=_MANAGE)
def delete_platform(platform_id: PlatformId, context: Context, caller: Caller) -> None:
    """Forget the connection. VMs and their backups stay known."""
    with context.database.writing() as session:
        row = inventory.find_platform(session, platform_id)
        details = {"name": row.name, "identity": row.identity}
        session.delete(row)
        announce(session, "platform", platform_id, "removed", clock=context.clock)
        record(
            session,
            caller,
            "platform.delete",
            clock=context.clock,
            object_kind="platform",
            object_id=platform_id,
            details=details,
        )


@router.post("/{platform_id}/test", dependencies=_DISCOVER)
def test_existing_platform(platform_id: PlatformId, context: Context) -> PlatformTest:
    """Try the connection now."""
    with context.database.reading() as session:
        address = address_of(inventory.find_platform(session, platform_id))
    answer = _try(context, address)
    with context.database.writing() as session:
        row = inventory.find_platform(session, platform_id)
        row.state = "connected" if answer.ok else "unreachable"
        row.state_message = "" if answer.ok else answer.message
        row.state_at = context.clock.now()
        announce(session, "platform", platform_id, "changed", clock=context.clock)
    return answer


@router.post("/{platform_id}/discover", dependencies=_DISCOVER)
def discover_vms(platform_id: PlatformId, context: Context) -> Discovery:
    """Every VM of the platform as it is now; those that were added are brought up to date."""
    started_s = context.clock.monotonic_s()
    seen = _look(context, platform_id)
    with context.database.writing() as session:
        row = inventory.find_platform(session, platform_id)
        inventory.renew_platform(session, row, seen, context.clock)
        identities = {vm.platform for vm in seen}
        known: dict[tuple[str, str], str] = {}
        for identity in identities:
            ids = [vm.id for vm in seen if vm.platform == identity]
            for platform_vm_id, vm_id in inventory.known_vm_ids(session, identity, ids).items():
                known[identity, platform_vm_id] = vm_id
        announce(session, "platform", platform_id, "changed", clock=context.clock)
    vms = [_discovered(vm, known.get((vm.platform, vm.id))) for vm in seen]
    return Discovery(
        platform_id=platform_id,
        discovered_at=context.clock.now(),
        duration_seconds=round(context.clock.monotonic_s() - started_s, 3),
        vms=vms,
        total=len(vms),
    )


@router.post("/{platform_id}/vms", dependencies=_DISCOVER)
def add_vms(platform_id: PlatformId, body: AddVms, context: Context, caller: Caller) -> AddedVms:
    """Take VMs of the platform under management; one that is there already is no error."""
    tags = [check_tag(tag) for tag in body.tags]
    seen = {vm.id: vm for vm in _look(context, platform_id)}
    results: list[AddedVm] = []
    with context.database.writing() as session:
        row = inventory.find_platform(session, platform_id)
        for platform_vm_id in dict.fromkeys(body.platform_vm_ids):
            vm = seen.get(platform_vm_id)
            if vm is None:
                missing = VmNotFound(name=platform_vm_id, platform=row.identity, known="")
                results.append(
                    AddedVm(
                        platform_vm_id=platform_vm_id,
                        vm_id=None,
                        name="",
                        added=False,
                        problem=missing.message,
                    )
                )
                continue
            added, newly = inventory.add_vm(session, row, vm, context.clock)
            if newly and tags:
                inventory.set_tags(session, added, tags)
            results.append(
                AddedVm(platform_vm_id=vm.id, vm_id=added.id, name=added.name, added=newly)
            )
        announce(session, "vm", "", "created", clock=context.clock)
        record(
            session,
            caller,
            "vm.add",
            clock=context.clock,
            object_kind="platform",
            object_id=platform_id,
            details={"added": sum(item.added for item in results)},
        )
    return AddedVms(
        added=sum(item.added for item in results),
        already_known=sum(not item.added and item.vm_id is not None for item in results),
        failed=sum(item.vm_id is None for item in results),
        vms=results,
    )


def _look(context: ServiceContext, platform_id: str) -> list[hypervisor.VirtualMachine]:
    """What the platform lists. Its state is kept also when it does not answer."""
    with context.database.reading() as session:
        address = address_of(inventory.find_platform(session, platform_id))
    try:
        return with_platform(
            address, context.settings.scratch_root, lambda platform: list(platform.list_vms())
        )
    except HoldfastError as error:
        with context.database.writing() as session:
            row = inventory.find_platform(session, platform_id)
            row.state, row.state_message = "unreachable", error.message
            row.state_at = context.clock.now()
            announce(session, "platform", platform_id, "changed", clock=context.clock)
        raise


def _count(platform: OpenPlatform) -> int:
    return len(platform.list_vms())


def _try(context: ServiceContext, address: PlatformAddress) -> PlatformTest:
    try:
        count = with_platform(address, context.settings.scratch_root, _count)
    except HoldfastError as error:
        return PlatformTest(ok=False, message=error.message, hint=error.advice)
    return PlatformTest(ok=True, message=f"connected; {count} VMs there", vm_count=count)


def _discovered(vm: hypervisor.VirtualMachine, vm_id: str | None) -> DiscoveredVm:
    return DiscoveredVm(
        platform_vm_id=vm.id,
        name=vm.name,
        power=vm.power.value,
        firmware=vm.firmware.value,
        vcpus=vm.vcpus,
        memory_bytes=vm.memory_bytes,
        size_bytes=sum(disk.size_bytes for disk in vm.disks if disk.included),
        disks=[DiscoveredDisk(**inventory.disk_document(disk)) for disk in vm.disks],
        networks=[
            DiscoveredNic(mac=nic.mac, network=nic.network, model=nic.model) for nic in vm.networks
        ],
        vm_id=vm_id,
    )


def _info(row: Platform, vm_count: int) -> PlatformInfo:
    address = row.settings.get("address")
    remote = is_remote(row)
    return PlatformInfo(
        id=row.id,
        name=row.name,
        kind=cast("Literal['libvirt', 'images']", row.kind),
        identity=row.identity,
        address=LibvirtAddress.model_validate(address) if address else None,
        path=row.settings.get("path"),
        uri=str(row.settings.get("uri") or row.settings.get("path") or ""),
        has_secret=row.sealed_secret is not None,
        state=cast("Literal['unknown', 'connected', 'unreachable']", row.state),
        state_message=row.state_message,
        state_at=row.state_at,
        vm_count=vm_count,
        can_capture=not remote,
        can_restore=row.kind == "libvirt" and not remote,
        created_at=row.created_at,
    )
