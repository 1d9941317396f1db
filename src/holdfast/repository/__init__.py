"""AT REST. Restore points, deduplicated and encrypted, in an object store.

Callers use what is exported here. Inside: `format/` is the on-disk format (pure), `store/` where
objects are durable, `packs` and `session` the write path (the commit is in `session.commit`),
`chunks`, `index` and `disk_map` the read path, `leases` who is writing, `check` and `verify` what
is sound, `repair` what saves the rest, `copy` points to another repository, `access` who opens it,
`data_keys` what packs are sealed under.
Only `Repository.delete_point` deletes a point; only maintenance deletes packs.
"""

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
