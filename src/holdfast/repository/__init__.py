"""AT REST. Restore points, deduplicated and encrypted, in an object store.

Callers use what is exported here. Inside: `format/` is the on-disk format (pure), `store/` where
objects are durable, `packs` and `session` the write path (the commit is in `session.commit`),
`chunks`, `index` and `disk_map` the read path, `leases` who is writing, `check` and `verify` what
is sound, `repair` what saves the rest, `copy` points to another repository, `access` who opens it,
`data_keys` what packs are sealed under.
Only `Repository.delete_point` deletes a point; only maintenance deletes packs.

What is exported is imported when it is asked for: a command that asks for a key first has it
derived while the rest is imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.repository.disk_map import DiskMap, DiskMapWriter
    from holdfast.repository.format.keys import Credential
    from holdfast.repository.format.pack import ZERO_ID, ChunkType
    from holdfast.repository.format.point import (
        ArtifactRecord,
        DiskRecord,
        Manifest,
        VmRecord,
        check_tag,
    )
    from holdfast.repository.format.recovery_kit import is_recovery_key, parse_recovery_key
    from holdfast.repository.losses import damage_to_heal
    from holdfast.repository.presence import read_config
    from holdfast.repository.repository import Repository
    from holdfast.repository.restore_point import RestorePoint
    from holdfast.repository.session import BackupSession
    from holdfast.repository.store.local import LocalStore
    from holdfast.repository.store.opening import StoreOptions, new_store, open_store
    from holdfast.repository.store.s3_access import S3Access, is_s3_url

__all__ = [
    "ZERO_ID",
    "ArtifactRecord",
    "BackupSession",
    "ChunkType",
    "Credential",
    "DiskMap",
    "DiskMapWriter",
    "DiskRecord",
    "LocalStore",
    "Manifest",
    "Repository",
    "RestorePoint",
    "S3Access",
    "StoreOptions",
    "VmRecord",
    "check_tag",
    "damage_to_heal",
    "is_recovery_key",
    "is_s3_url",
    "new_store",
    "open_store",
    "parse_recovery_key",
    "read_config",
]

_MODULES = {
    "DiskMap": "disk_map",
    "DiskMapWriter": "disk_map",
    "Credential": "format.keys",
    "ChunkType": "format.pack",
    "ZERO_ID": "format.pack",
    "ArtifactRecord": "format.point",
    "DiskRecord": "format.point",
    "Manifest": "format.point",
    "VmRecord": "format.point",
    "check_tag": "format.point",
    "is_recovery_key": "format.recovery_kit",
    "parse_recovery_key": "format.recovery_kit",
    "damage_to_heal": "losses",
    "read_config": "presence",
    "Repository": "repository",
    "RestorePoint": "restore_point",
    "BackupSession": "session",
    "LocalStore": "store.local",
    "StoreOptions": "store.opening",
    "new_store": "store.opening",
    "open_store": "store.opening",
    "S3Access": "store.s3_access",
    "is_s3_url": "store.s3_access",
}


def __getattr__(name: str) -> object:
    """What `__all__` names, from its module."""
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = found
    return found
