"""Object Lock: versions that the service itself keeps from being deleted, by boto3, for obstore
knows neither locks nor versions. Requests are tried again by the same rules as those of
`s3_bucket`.

A bucket with Object Lock keeps versions: a plain DELETE hides an object under a delete marker, and
a plain PUT hides it under another version. Holdfast does neither there: it deletes every version
of a name, oldest first, so that nothing old comes to light when a delete breaks off. Whatever lies
hidden was hidden by somebody else.

Enter at `LockingBucket`.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar, cast

from boto3.session import Session
from botocore.exceptions import BotoCoreError, ClientError

from holdfast.core.busy_time import BUSY, Activity
from holdfast.core.clock import format_time
from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.repository.errors import (
    LocksUnsupported,
    ObjectExists,
    ObjectLocked,
    ObjectMissing,
    StoreUnavailable,
)
from holdfast.repository.store.s3_access import S3Access, S3Location
from holdfast.repository.store.s3_faults import (
    Attempts,
    Kind,
    RequestFailed,
    RetryPolicy,
)
from holdfast.repository.store.s3_versions import (
    NO_LOCK,
    Answer,
    Client,
    Version,
    client_settings,
    fault_of,
    mode_word,
    real_versions,
    stamp,
    version_of,
)
from holdfast.repository.store.store import Buffer, ObjectLock

_T = TypeVar("_T")


class LockingBucket:
    """The part of a bucket below one prefix, with versions and locks. Thread-safe."""

    def __init__(
        self, where: S3Location, access: S3Access, *, policy: RetryPolicy, timeout_s: float = 300.0
    ) -> None:
        """Connects to nothing yet."""
        self._where = where
        self._policy = policy
        self._lock = threading.Lock()
        self._keeps_locks: bool | None = None
        try:
            session = Session(
                aws_access_key_id=access.access_key_id,
                aws_secret_access_key=access.secret_access_key,
                aws_session_token=access.session_token or None,
                region_name=access.region,
            )
            client = session.client(
                "s3",
                endpoint_url=access.url,
                verify=access.ca_file or True,
                config=client_settings(timeout_s),
            )
        except (BotoCoreError, ValueError, OSError) as error:
            raise InvalidInput(what="S3 settings", problem=str(error)) from error
        self._client = cast("Client", client)

    @property
    def location(self) -> str:
        return self._where.url

    def keeps_locks(self) -> bool:
        """Whether the bucket was made with Object Lock and locks nothing by itself: a default
        retention would lock leases too. Asked once."""
        with self._lock:
            if self._keeps_locks is None:
                self._keeps_locks = not self.why_no_locks()
            return self._keeps_locks

    def why_no_locks(self) -> str:
        """Why immutable objects cannot be kept here, in words; empty when they can."""
        try:
            answer = self._request(
                lambda: self._client.get_object_lock_configuration(Bucket=self._where.bucket)
            )
        except RequestFailed as failed:
            if failed.fault.code in NO_LOCK or failed.fault.kind is Kind.MISSING:
                return "the bucket was made without Object Lock"
            if failed.fault.code == "AccessDenied":
                return "these credentials may not read the bucket's Object Lock settings"
            raise self._error(failed, "") from None
        settings = answer.get("ObjectLockConfiguration", {})
        if settings.get("ObjectLockEnabled") != "Enabled":
            return "the bucket was made without Object Lock"
        if settings.get("Rule"):
            return (
                "the bucket has a default retention, which would lock leases as well; take that "
                "off, Holdfast locks each object that needs it"
            )
        return ""

    def require_locks(self) -> None:
        """Raises LocksUnsupported."""
        why = "" if self._keeps_locks else self.why_no_locks()
        if why:
            raise LocksUnsupported(location=self.location, problem=why)
        self._keeps_locks = True

    def create(
        self,
        name: str,
        parts: Sequence[Buffer],
        lock: ObjectLock,
        holds: Callable[[str, Sequence[Buffer]], bool],
    ) -> None:
        """One PUT that creates and locks. `holds` tells whose the object is after an attempt
        without an answer. Raises ObjectExists, LocksUnsupported."""
        self.require_locks()
        body = b"".join(parts)
        try:
            self._request(lambda: self._put(name, body, lock, IfNoneMatch="*"))
        except RequestFailed as failed:
            if failed.unclear and holds(name, [body]):
                return  # an attempt of ours whose answer was lost, locked as it was asked for
            if failed.fault.kind is Kind.EXISTS:
                raise ObjectExists(key=name, location=self.location) from None
            raise self._error(failed, name) from None

    def extend(self, name: str, lock: ObjectLock) -> None:
        """Raises ObjectMissing, LocksUnsupported. Looks first: there are services that shorten."""
        self.require_locks()
        until = self.locked_until(name)
        if until is not None and until >= lock.until:
            return
        self._ask(name, lambda: self._retain(name, lock))

    def locked_until(self, name: str, version_id: str = "") -> datetime | None:
        """Raises ObjectMissing."""
        which = {"VersionId": version_id} if version_id else {}
        try:
            answer = self._request(
                lambda: self._client.get_object_retention(**self._named(name), **which)
            )
        except RequestFailed as failed:
            fault = failed.fault
            if fault.code in NO_LOCK:
                return None
            raise self._error(failed, name) from None
        until = answer.get("Retention", {}).get("RetainUntilDate")
        return until.astimezone(UTC) if isinstance(until, datetime) else None

    def delete(self, name: str) -> None:
        """Every version, for good. Raises ObjectLocked; then all of them are still there, for
        without the oldest nobody could tell any more which one was created here."""
        versions = self.versions_of(name)
        if len(versions) > 1:
            self._require_over(name, versions)
        for version in reversed(versions):  # the service lists the newest first
            self.delete_version(version)

    def require_unlocked(self, name: str) -> None:
        """Raises ObjectLocked while the lock of any version has not ended."""
        self._require_over(name, self.versions_of(name))

    def versions_of(self, name: str) -> list[Version]:
        """Of exactly this name, the newest first."""
        return [found for found in self.versions(name) if found.name == name]

    def _require_over(self, name: str, versions: Sequence[Version]) -> None:
        untils = [self.locked_until(name, item.version_id) for item in real_versions(versions)]
        last = max((until for until in untils if until is not None), default=None)
        if last is not None and last > datetime.now(UTC):
            raise ObjectLocked(key=name, until=format_time(last))

    def delete_version(self, version: Version) -> None:
        """Raises ObjectLocked."""
        which = {**self._named(version.name), "VersionId": version.version_id}
        try:
            self._request(lambda: self._client.delete_object(**which))
        except RequestFailed as failed:
            if failed.fault.kind is Kind.MISSING:
                return
            until = None
            if failed.fault.kind is Kind.REFUSED and not version.is_marker:
                until = self.locked_until(version.name, version.version_id)
            if until is None:
                raise self._error(failed, version.name) from None
            raise ObjectLocked(key=version.name, until=format_time(until)) from None

    def versions(self, prefix: str) -> Iterator[Version]:
        """Of every name that begins so, markers included; of one name the newest first."""
        top = self._where.path("x")[:-1]
        marks: dict[str, str] = {}
        while True:
            page = self._ask(
                prefix,
                lambda marks=marks: self._client.list_object_versions(
                    Bucket=self._where.bucket, Prefix=top + prefix, **marks
                ),
            )
            found = [
                *(version_of(top, item, is_marker=False) for item in page.get("Versions", ())),
                *(version_of(top, item, is_marker=True) for item in page.get("DeleteMarkers", ())),
            ]
            # Markers come apart from the rest; within one second the order is the service's own.
            found.sort(key=lambda item: item.modified, reverse=True)
            found.sort(key=lambda item: (item.name, not item.is_latest))
            yield from found
            if not page.get("IsTruncated"):
                return
            following = {
                "KeyMarker": page.get("NextKeyMarker", ""),
                "VersionIdMarker": page.get("NextVersionIdMarker", ""),
            }
            if following == marks or not following["KeyMarker"]:
                problem = "the listing of versions does not go on"
                raise StoreUnavailable(location=self.location, problem=problem)
            marks = following

    def hidden(self, prefix: str = "") -> dict[str, list[Version]]:
        """All versions, newest first, of the names that somebody deleted or overwrote: what is on
        top is not what was created, which is the oldest."""
        by_name: dict[str, list[Version]] = defaultdict(list)
        for version in self.versions(prefix):
            by_name[version.name].append(version)
        return {
            name: versions
            for name, versions in by_name.items()
            if any(item.etag != versions[0].etag for item in real_versions(versions)[-1:])
        }

    def unhide(self, name: str, versions: Sequence[Version]) -> bool:
        """Bring back the oldest version of a name that is or was locked: it is the one that was
        created here, as nothing is created over another. False when none was and there are
        several."""
        real = real_versions(versions)[::-1]
        original = next((item for item in real if self._is_locked(item)), None)
        if original is None:
            if len(real) != 1:
                return False
            original = real[0]
        above = list(versions[: versions.index(original)])
        try:
            for version in above:
                self.delete_version(version)
        except ObjectLocked:
            # What somebody put on it is locked as well: the right bytes go on top of that.
            which = {**self._named(name), "VersionId": original.version_id}
            until = self.locked_until(name, original.version_id)
            body = self._ask(name, lambda: self._body(which))
            lock = ObjectLock(until=until or original.modified)
            self._ask(name, lambda: self._put(name, body, lock))
        return True

    def attack(self, name: str) -> list[str]:
        """What these credentials can do to a locked object, in words."""
        target = next(item for item in self.versions(name) if not item.is_marker)
        which = {**self._named(name), "VersionId": target.version_id}
        until = self.locked_until(name, target.version_id)
        if until is None:
            return ["the service took the lock and does not keep it"]
        soon = stamp(datetime.now(UTC) + timedelta(seconds=5))
        shorter = {"Mode": "COMPLIANCE", "RetainUntilDate": soon}
        weaker = {"Mode": "GOVERNANCE", "RetainUntilDate": soon}
        tries: list[tuple[str, Callable[[], object]]] = [
            (
                "its lock can be shortened",
                lambda: self._client.put_object_retention(**which, Retention=shorter),
            ),
            (
                "its lock can be shortened by credentials that may bypass governance",
                lambda: self._client.put_object_retention(
                    **which, Retention=weaker, BypassGovernanceRetention=True
                ),
            ),
            ("it can be overwritten", lambda: self._overwrite(which)),
            ("it can be deleted", lambda: self._client.delete_object(**which)),
            (
                "it can be deleted by credentials that may bypass governance",
                lambda: self._client.delete_object(**which, BypassGovernanceRetention=True),
            ),
        ]
        worked = [words for words, attempt in tries if self._works(attempt)]
        still = self._try(lambda: self._client.get_object_retention(**which))
        if not worked and still is None:
            worked.append("it is gone although every attempt was refused")
        return worked

    def _overwrite(self, which: Mapping[str, object]) -> None:
        """A PUT over an object hides it; that is no breach while the version below can be read."""
        name = {key: which[key] for key in ("Bucket", "Key")}
        before = self._body(which)
        made = self._client.put_object(**name, Body=b"overwritten")
        self._client.delete_object(**name, VersionId=made["VersionId"])
        if self._body(which) == before:
            raise _Withstood

    def _works(self, attempt: Callable[[], object]) -> bool:
        return self._try(attempt) is not None

    def _try(self, attempt: Callable[[], object]) -> object | None:
        """None when the service refused. Raises StoreUnavailable when that cannot be told."""
        try:
            return self._request(attempt) or True
        except _Withstood:
            return None
        except RequestFailed as failed:
            if failed.fault.kind in {Kind.REFUSED, Kind.MISSING}:
                return None
            raise self._error(failed, "") from None

    def _is_locked(self, version: Version) -> bool:
        return self.locked_until(version.name, version.version_id) is not None

    def _put(self, name: str, body: bytes, lock: ObjectLock, **more: object) -> Answer:
        return self._client.put_object(
            **self._named(name),
            Body=body,
            ChecksumSHA256=base64.b64encode(hashlib.sha256(body).digest()).decode(),
            ObjectLockMode=mode_word(lock),
            ObjectLockRetainUntilDate=stamp(lock.until),
            **more,
        )

    def _retain(self, name: str, lock: ObjectLock) -> Answer:
        return self._client.put_object_retention(
            **self._named(name),
            Retention={"Mode": mode_word(lock), "RetainUntilDate": stamp(lock.until)},
        )

    def _body(self, which: Mapping[str, object]) -> bytes:
        return bytes(self._client.get_object(**which)["Body"].read())

    def _named(self, name: str) -> dict[str, str]:
        return {"Bucket": self._where.bucket, "Key": self._where.path(name)}

    def _ask(self, name: str, act: Callable[[], _T]) -> _T:
        try:
            return self._request(act)
        except RequestFailed as failed:
            raise self._error(failed, name) from None

    @BUSY.measure(Activity.NETWORK)
    def _request(self, act: Callable[[], _T]) -> _T:
        attempts = Attempts(self._policy)
        while True:
            try:
                return act()
            except (ClientError, BotoCoreError) as error:
                attempts.failed(fault_of(error))

    def _error(self, failed: RequestFailed, name: str) -> HoldfastError:
        if failed.fault.kind is Kind.MISSING:
            return ObjectMissing(key=name, location=self.location)
        return failed.fault.error(self.location)


class _Withstood(Exception):
    """An attack did no harm."""
