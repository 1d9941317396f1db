"""A real S3 service behind a line with a round trip of 20 ms. Enter at `distant_bucket`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from holdfast.repository.store.s3_access import S3Location
from tests.benchmarks.delay_proxy import distant
from tests.benchmarks.tools import Bucket
from tests.support.seaweedfs import (
    ACCESS_KEY_ID,
    BUCKET,
    SECRET_ACCESS_KEY,
    new_location,
    shared_server,
)

ROUND_TRIP_S = 0.02


@contextmanager
def distant_bucket() -> Generator[Bucket]:
    """A prefix of its own. The server runs until this process ends."""
    server = shared_server()
    environment = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with distant(server.port, ROUND_TRIP_S) as (port, _):
        yield Bucket(
            endpoint=f"http://127.0.0.1:{port}",
            path=f"{BUCKET}/{new_location().prefix}",
            environment=environment,
            direct=lambda path: server.store(S3Location.parse(f"s3://{path}")),
        )
