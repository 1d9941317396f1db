"""Does this bucket do what a repository rests on? Some services that speak S3 ignore conditions
(`rclone serve s3` overwrites), and some show a new object in a listing only later.

Enter at `probe_bucket`, before a repository is made, and at `require_conditional_put`, before a
process writes for the first time. Both remove what they made.
"""

from __future__ import annotations

import secrets
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from holdfast.core.errors import HoldfastError, Retry
from holdfast.repository.errors import ObjectExists, StoreUnavailable
from holdfast.repository.store.s3_bucket import Bucket

TEMPORARY_FOLDER = ".holdfast/"
"""Where probe objects are; no reader of a repository sees them."""
_WRITERS = 2


@dataclass(kw_only=True, eq=False)
class BucketUnfit(StoreUnavailable):
    code = "bucket_unfit"
    retry = Retry.NEVER
    template = "{location} cannot hold a repository: {problem}"
    hint = (
        "Nothing was stored. Use a service that honours `If-None-Match: *` and lists what was "
        "written (Amazon S3, Ceph, MinIO, SeaweedFS), or a local folder"
    )


def require_conditional_put(bucket: Bucket) -> None:
    """A second create of the same name must fail. Raises BucketUnfit, StoreUnavailable."""
    with _probe(bucket) as name:
        bucket.create(name, [b"first"])
        try:
            bucket.create(name, [b"second"])
        except ObjectExists:
            return
    raise _unfit(bucket, "it replaces an object that it was asked to create only if absent")


def refuses_to_replace(bucket: Bucket, name: str) -> bool:
    """Whether it was seen to refuse to create an empty probe object again. Raises nothing of the
    service's: who has to know asks `require_conditional_put`."""
    try:
        bucket.create(name, [b"second"])
    except ObjectExists:
        return True
    except HoldfastError:
        return False
    return False


def probe_bucket(bucket: Bucket) -> None:
    """Of writers at the same moment one wins, and what is written and deleted shows at once.
    Raises BucketUnfit, StoreUnavailable."""
    require_conditional_put(bucket)
    with _probe(bucket) as name:
        bodies = [secrets.token_bytes(1000) for _ in range(_WRITERS)]
        with ThreadPoolExecutor(_WRITERS) as pool:
            writers = [pool.submit(_wins, bucket, name, body) for body in bodies]
        won = [writer.result() for writer in writers]
        if won.count(True) != 1:
            raise _unfit(bucket, f"{won.count(True)} of {_WRITERS} writers created one object")
        if bucket.read(name) != bodies[won.index(True)]:
            raise _unfit(bucket, "it gives back other bytes than the winning writer's")
        if not _is_listed(bucket, name):
            raise _unfit(bucket, "an object just written is not in its listing")
        bucket.discard(name)
        if _is_listed(bucket, name) or bucket.exists(name):
            raise _unfit(bucket, "an object just deleted is still there")


@contextmanager
def _probe(bucket: Bucket) -> Generator[str]:
    name = f"{TEMPORARY_FOLDER}probe-{secrets.token_hex(8)}"
    try:
        yield name
    finally:
        with suppress(HoldfastError):  # the first error is the one to tell
            bucket.discard(name)


def _wins(bucket: Bucket, name: str, body: bytes) -> bool:
    try:
        bucket.create(name, [body])
    except ObjectExists:
        return False
    return True


def _is_listed(bucket: Bucket, name: str) -> bool:
    return any(info.key == name for info in bucket.everything(TEMPORARY_FOLDER))


def _unfit(bucket: Bucket, problem: str) -> BucketUnfit:
    return BucketUnfit(location=bucket.location, problem=problem)
