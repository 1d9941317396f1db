"""Requests to one prefix of a bucket, each tried again while that can help, under any name.

Needs no more of a service than single PUTs with `If-None-Match: *`, ranged GETs, listings and
DELETEs: no conditional overwrite or delete and no multipart upload (so none can be left behind),
because services differ in those. obstore carries out one attempt at a time; trying again is done
here, for only here is it known what an attempt without an answer may have left.

A PUT that got no answer is neither done nor failed. It is tried again, and when the object then
turns out to exist, its bytes decide whose it is. One thing cannot be helped: a request that was
given up may still reach the service later, and an object that was reported as not stored appears.

Enter at `Bucket`. What a repository may rest on is in `s3`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar, cast

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store as Client

from holdfast.core.busy_time import BUSY, Activity
from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.core.units import MIB
from holdfast.repository.errors import (
    ObjectDamaged,
    ObjectExists,
    ObjectMissing,
    StoreUnavailable,
)
from holdfast.repository.store.s3_access import S3Access, S3Location
from holdfast.repository.store.s3_faults import (
    Attempts,
    Kind,
    RequestFailed,
    RetryPolicy,
    request,
)
from holdfast.repository.store.s3_listing import ListedObject, list_all, list_small, list_stretches
from holdfast.repository.store.store import Buffer, ObjectInfo

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Credential

_PAGE = 1000
_UNKNOWN_BYTES = 32 * MIB
"""Taken for the size of an object that is read without knowing it."""
_T = TypeVar("_T")


class _Level(TypedDict):
    objects: Sequence[ListedObject]
    common_prefixes: Sequence[str]


_list_pages = cast(
    "Callable[..., Iterable[Sequence[ListedObject]]]",
    obstore.list,  # pyright: ignore[reportUnknownMemberType]
)
_list_level = cast(
    "Callable[[Client, str | None], _Level]",
    obstore.list_with_delimiter,  # pyright: ignore[reportUnknownMemberType]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Of one attempt, from connecting to the last byte, by the bytes it moves. Over a line of
    1 Mbit/s a pack of 16 MiB takes 134 s; a dead connection is noticed after the whole time."""

    connect_s: float = 10.0
    by_bytes: tuple[tuple[int, float], ...] = ((1 * MIB, 30.0), (32 * MIB, 300.0))
    longest_s: float = 1800.0

    def of(self, size_bytes: int) -> float:
        for limit, timeout_s in self.by_bytes:
            if size_bytes <= limit:
                return timeout_s
        return self.longest_s


class Bucket:
    """Thread-safe; keeps a pool of connections."""

    def __init__(
        self,
        where: S3Location,
        access: S3Access,
        *,
        policy: RetryPolicy,
        timeouts: Timeouts,
    ) -> None:
        """Connects to nothing yet. Raises InvalidInput."""
        access.check()
        self._where = where
        self._access = access
        self._policy = policy
        self._timeouts = timeouts
        self._clients: dict[float, Client] = {}
        self._answered = False
        self.keeps_versions = False
        """The service has named a version of an object."""
        self._proven = 0
        """As many objects one answer is known to hold before the service ends it."""
        self._sizes: dict[str, int] = {}
        """Objects in folders when they were last listed, a page at most: says how to ask again."""
        self._lock = threading.Lock()
        self._client(0)  # a setting that obstore refuses is said now

    @property
    def location(self) -> str:
        return self._where.url

    def create(self, name: str, parts: Sequence[Buffer]) -> None:
        """Raises ObjectExists when somebody else made it first."""
        body = [part for part in parts if len(part)] or [b""]
        client, path = self._client(sum(map(len, body))), self._where.path(name)
        try:
            made = self._request(
                lambda: obstore.put(client, path, body, mode="create", use_multipart=False)
            )
            self._note_version(made.get("version"))
        except RequestFailed as failed:
            if failed.unclear and self.holds(name, body):
                return  # an attempt of ours whose answer was lost
            if failed.fault.kind is Kind.EXISTS:
                raise ObjectExists(key=name, location=self.location) from None
            raise self._error(failed, name) from None

    def overwrite(self, name: str, parts: Sequence[Buffer]) -> None:
        """Put the parts under the name, whatever is there. Of two attempts, of which one got no
        answer, either leaves the same."""
        body = [part for part in parts if len(part)] or [b""]
        client, path = self._client(sum(map(len, body))), self._where.path(name)
        made = self._ask(
            name,
            lambda: obstore.put(client, path, body, mode="overwrite", use_multipart=False),
        )
        self._note_version(made.get("version"))

    def read(self, name: str, size_bytes: int = _UNKNOWN_BYTES) -> bytes:
        """The whole object, of about that size. Raises ObjectMissing."""
        client, path = self._client(size_bytes), self._where.path(name)
        return self._ask(name, lambda: bytes(obstore.get(client, path).bytes()))

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """At most `length` bytes, at least one. Raises ObjectMissing, and ObjectDamaged when the
        object ends before."""
        client, path = self._client(length), self._where.path(name)
        return self._ask(
            name, lambda: bytes(obstore.get_range(client, path, start=offset, length=length))
        )

    def describe(self, name: str) -> ObjectInfo:
        """Raises ObjectMissing."""
        client, path = self._client(0), self._where.path(name)
        try:
            found = self._request(lambda: obstore.head(client, path), is_head=True)
        except RequestFailed as failed:
            if failed.fault.kind is Kind.MISSING:
                raise self._missing_by_head(name) from None
            raise self._error(failed, name) from None
        self._note_version(found.get("version"))
        return _info(name, cast("ListedObject", found))

    def exists(self, name: str) -> bool:
        try:
            self.describe(name)
        except ObjectMissing:
            return False
        return True

    def everything(self, folder: str, known: Sequence[str] = ()) -> Iterator[ObjectInfo]:
        """All below a folder ("" or one ending in `/`), whatever its name. Complete or an error.
        `known` names that were there before let it be asked for in parts, at once."""
        client, path = self._client(0), self._where.path(folder.rstrip("/")) or None
        start = len(self._where.path("x")) - 1

        def ask(after: str | None) -> Iterable[Sequence[ListedObject]]:
            return _list_pages(client, path, offset=after, chunk_size=_PAGE)

        at_once = list_stretches(ask, [self._where.path(name) for name in sorted(known)])
        shown: Collection[str] = ()
        if at_once is None and self._sizes.get(folder, 0) < _PAGE:
            top_level = None if self._sizes.get(folder) else self._shown_at_top
            try:
                small = list_small(
                    ask,
                    folder=folder,
                    before=path,
                    top_level=top_level,
                    page=_PAGE,
                    proven=self._proven,
                )
            except RequestFailed as failed:
                raise self._error(failed, folder) from None
            at_once, shown = small.found, small.shown
            self._sizes[folder] = len(at_once or ())
            self._proven = max(self._proven, len(at_once or ()))
        if at_once is not None:
            for item in at_once:
                yield _info(item["path"][start:], item)
            return
        found = list_all(
            ask,
            exists=lambda path: self.exists(path[start:]),
            folder=folder,
            top_level=self._top_level,
            policy=self._policy,
            shown=shown,
        )
        count = 0
        try:
            for item in found:
                count += 1
                yield _info(item["path"][start:], item)
            self._sizes[folder] = min(count, _PAGE)
        except RequestFailed as failed:
            raise self._error(failed, folder) from None

    def discard(self, name: str) -> None:
        """Delete whatever is under a name; S3 does not say whether anything was."""
        client, path = self._client(0), self._where.path(name)
        self._ask(name, lambda: obstore.delete(client, path))

    def _note_version(self, version: str | None) -> None:
        # "null" is the one version of an object of a bucket that keeps none.
        self.keeps_versions = self.keeps_versions or version not in {None, "", "null"}

    def holds(self, name: str, body: Sequence[Buffer]) -> bool:
        """True when the stored object is `body`. Raises StoreUnavailable if that cannot be told."""
        try:
            return self.read(name, sum(map(len, body))) == b"".join(body)
        except ObjectMissing:
            return False

    def _top_level(self) -> set[str]:
        """Names of the objects and folders at the top of the store."""
        return self._ask("", self._shown_at_top)

    def _shown_at_top(self) -> set[str]:
        """The same, by one attempt."""
        client, path = self._client(0), self._where.path("") or None
        level = _list_level(client, path)
        paths = [item["path"] for item in level["objects"]] + [*level["common_prefixes"]]
        return {path.rpartition("/")[2] for path in paths}

    def _missing_by_head(self, name: str) -> HoldfastError:
        """What a 404 to HEAD means. That answer has no body and may be a missing bucket's or a
        proxy's, so the service is asked in a way that it must answer in its own words."""
        try:
            self.read_range(name, 0, 1)
        except ObjectMissing as error:
            return error
        except ObjectDamaged:
            pass  # it is there, and empty
        problem = f"it says that {name} is missing and that it is there"
        return StoreUnavailable(location=self.location, problem=problem)

    def _ask(self, name: str, act: Callable[[], _T]) -> _T:
        try:
            return self._request(act)
        except RequestFailed as failed:
            # Not `from`: obstore repeats answers in full, and some hold signed headers.
            raise self._error(failed, name) from None

    @BUSY.measure(Activity.NETWORK)
    def _request(self, act: Callable[[], _T], *, is_head: bool = False) -> _T:
        attempts = Attempts(self._policy, answered=self._answered)
        try:
            done = request(attempts, act, is_head=is_head)
        except RequestFailed as failed:
            self._answered = self._answered or failed.fault.kind is not Kind.PASSING
            raise
        self._answered = True
        return done

    def _error(self, failed: RequestFailed, name: str) -> HoldfastError:
        match failed.fault.kind:
            case Kind.MISSING:
                return ObjectMissing(key=name, location=self.location)
            case Kind.OUTSIDE:
                return ObjectDamaged(key=name, problem="it ends before the bytes asked for")
            case _:
                return failed.fault.error(self.location)

    def _client(self, size_bytes: int) -> Client:
        """The client whose timeout fits requests of that size."""
        timeout_s = self._timeouts.of(size_bytes)
        with self._lock:
            client = self._clients.get(timeout_s)
            if client is None:
                client = self._clients[timeout_s] = self._new_client(timeout_s)
        return client

    def _new_client(self, timeout_s: float) -> Client:
        # obstore takes everything that is not said here from the environment, where it could
        # switch off signatures, conditions or the verification of certificates.
        access = self._access
        options: ClientConfig = {
            "allow_http": access.is_http,
            "allow_invalid_certificates": False,
            "connect_timeout": timedelta(seconds=self._timeouts.connect_s),
            "timeout": timedelta(seconds=timeout_s),
        }
        try:
            if access.ca_file:
                options["root_certificate"] = Path(access.ca_file).read_bytes()
            return Client(
                self._where.bucket,
                config={
                    "region": access.region,
                    "endpoint": access.url,
                    "aws_endpoint_url_s3": access.url,
                    "checksum_algorithm": "sha256",
                    "conditional_put": "etag",
                    "disable_bulk_delete": True,
                    "skip_signature": False,
                    "unsigned_payload": False,
                    "virtual_hosted_style_request": False,
                    "request_payer": False,
                    "s3_express": False,
                },
                client_options=options,
                retry_config={"max_retries": 0},
                credential_provider=self._credential,
            )
        except (BaseError, ValueError, OSError) as error:
            problem = str(error).partition("\n")[0]
            raise InvalidInput(what="S3 settings", problem=problem) from error

    def _credential(self) -> S3Credential:
        return {
            "access_key_id": self._access.access_key_id,
            "secret_access_key": self._access.secret_access_key,
            "token": self._access.session_token or None,
            "expires_at": None,
        }


def _info(name: str, item: ListedObject) -> ObjectInfo:
    # In whole seconds: a listing may have fractions that HEAD has not, and times are compared.
    modified = item["last_modified"].astimezone(UTC).replace(microsecond=0)
    return ObjectInfo(key=name, size_bytes=item["size"], modified=modified)
