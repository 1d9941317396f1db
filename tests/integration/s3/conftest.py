"""A SeaweedFS server and a proxy that misbehaves before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.s3_fault_proxy import FaultProxy
from tests.support.seaweedfs import S3Server, shared_server


@pytest.fixture(scope="session")
def server() -> S3Server:
    return shared_server()


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(server.port) as running:
        yield running
