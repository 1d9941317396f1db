"""Versions of a bucket's objects and how they are asked for: what of boto3 is used, its settings,
what its answers and errors mean. For `s3_lock`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, cast

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from holdfast.repository.store.s3_faults import Fault, Kind, fault_of_answer
from holdfast.repository.store.store import LockMode, ObjectLock

_MISSING = {"NoSuchKey", "NoSuchVersion", "404"}
NO_LOCK = {
    "ObjectLockConfigurationNotFoundError",
    "NoSuchObjectLockConfiguration",
    "NotImplemented",
    "InvalidRequest",
    "MethodNotAllowed",
}
Answer = Mapping[str, Any]


class Client(Protocol):
    """What is used of boto3's client."""

    def put_object(self, **arguments: object) -> Answer: ...
    def get_object(self, **arguments: object) -> Answer: ...
    def delete_object(self, **arguments: object) -> Answer: ...
    def put_object_retention(self, **arguments: object) -> Answer: ...
    def get_object_retention(self, **arguments: object) -> Answer: ...
    def list_object_versions(self, **arguments: object) -> Answer: ...
    def get_object_lock_configuration(self, **arguments: object) -> Answer: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of an object, or a delete marker."""

    name: str
    version_id: str
    is_latest: bool
    is_marker: bool
    modified: datetime
    etag: str
    """Equal for equal bytes, where the service does not encrypt each by itself."""


def client_settings(timeout_s: float) -> Config:
    """One attempt at a time, and nothing from the environment or from files."""
    return Config(
        retries={"total_max_attempts": 1, "mode": "standard"},
        s3={"addressing_style": "path"},
        connect_timeout=10,
        read_timeout=timeout_s,
        max_pool_connections=64,
        signature_version="s3v4",
        ignore_configured_endpoint_urls=True,
    )


def fault_of(error: ClientError | BotoCoreError) -> Fault:
    if not isinstance(error, ClientError):
        # Not its text: it may name a proxy with its password.
        return Fault(kind=Kind.PASSING, problem=type(error).__name__)
    said = cast("dict[str, Any]", error.response.get("Error", {}))
    answer = cast("dict[str, Any]", error.response.get("ResponseMetadata", {}))
    status = int(answer.get("HTTPStatusCode", 0))
    code = str(said.get("Code", ""))
    if code in _MISSING and status == 404:
        return Fault(kind=Kind.MISSING, problem=code)
    if (
        code in NO_LOCK
    ):  # an answer, whatever its status: some give a 404 that others have to repeat
        return Fault(kind=Kind.REFUSED, problem=code, code=code)
    return fault_of_answer(status, code, str(said.get("Message", ""))[:300])


def version_of(top: str, item: Mapping[str, Any], *, is_marker: bool) -> Version:
    return Version(
        name=str(item["Key"]).removeprefix(top),
        version_id=str(item["VersionId"]),
        is_latest=bool(item["IsLatest"]),
        is_marker=is_marker,
        modified=cast("datetime", item["LastModified"]).astimezone(UTC),
        etag=str(item.get("ETag", "")),
    )


def real_versions(versions: Sequence[Version]) -> list[Version]:
    return [item for item in versions if not item.is_marker]


def mode_word(lock: ObjectLock) -> str:
    return "COMPLIANCE" if lock.mode is LockMode.COMPLIANCE else "GOVERNANCE"


def stamp(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)
