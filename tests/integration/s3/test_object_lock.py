"""A repository in a bucket with Object Lock, and somebody with its credentials against it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import HoldfastError
from holdfast.core.progress import SilentProgress
from holdfast.core.units import KIB
from holdfast.repository import Repository
from holdfast.repository.canary import test_immutability as attack
from holdfast.repository.check import check_repository
from holdfast.repository.compact import run_compact
from holdfast.repository.errors import ObjectLocked, ObjectsHidden
from holdfast.repository.format.immutability import Immutability
from holdfast.repository.hidden import hidden_objects, remove_hidden, unhide
from holdfast.repository.lock import run_lock
from holdfast.repository.store.s3_access import S3Location
from tests.support.engine import CREDENTIAL, Engine
from tests.support.locks import assert_points_are_locked, permanent
from tests.support.seaweedfs import S3Server, boto_client, locking_bucket, new_location
from tests.support.small_world import AT_ONCE

RUN: Any = {"cancel": CancelToken(), "progress": SilentProgress()}


class Room:
    """A repository with two points, and the ways of an intruder."""

    def __init__(self, server: S3Server, where: S3Location, mode: str) -> None:
        self.where = where
        self.store = server.store(where)
        self.store.prepare()
        rule = Immutability(days=1, mode=mode)
        repository, _ = Repository.create(
            self.store, CREDENTIAL, chunk_bytes=4 * KIB, immutability=rule
        )
        self.engine = Engine.create_in(repository, self.store)
        self.engine.back_up()
        self.engine.vm.disks["vda"].write(0, b"changed")
        self.engine.back_up()

    def open(self) -> Repository:
        return Repository.open(self.store, CREDENTIAL)

    def versions(self) -> Iterator[dict[str, Any]]:
        prefix = self.where.path("")
        pages = boto_client().get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=self.where.bucket, Prefix=prefix):
            yield from page.get("Versions", ())

    def assert_whole(self) -> None:
        report = check_repository(self.open(), read_data=True, **RUN)
        assert report.is_sound, report.problems
        assert report.points == 2


@pytest.fixture(scope="module")
def room(server: S3Server) -> Room:
    return Room(server, new_location(locking_bucket()), "compliance")


@pytest.fixture(scope="module")
def soft_room(server: S3Server) -> Room:
    return Room(server, new_location(locking_bucket()), "governance")


def test_everything_that_counts_is_locked_and_holdfast_hides_nothing(room: Room) -> None:
    assert_points_are_locked(room.open())
    for key in permanent(room.store):
        assert room.store.locked_until(key) is not None
    with pytest.raises(ObjectLocked):
        room.open().delete_point(room.open().points()[0].id)
    assert hidden_objects(room.store) == []
    assert run_lock(room.open(), **RUN).unlocked == []
    room.assert_whole()


def test_the_canary_tells_compliance_from_governance(room: Room, soft_room: Room) -> None:
    assert attack(room.open()).is_immutable
    verdict = attack(soft_room.open())
    assert not verdict.is_immutable
    assert any("bypass governance" in reason for reason in verdict.reasons)


def test_an_intruder_deletes_no_version_and_unhide_brings_all_back(room: Room) -> None:
    client, bucket = boto_client(), room.where.bucket
    before = set(permanent(room.store))
    for version in list(room.versions()):
        name = {"Bucket": bucket, "Key": version["Key"]}
        try:
            client.delete_object(
                **name, VersionId=version["VersionId"], BypassGovernanceRetention=True
            )
        except client.exceptions.ClientError as error:
            assert error.response["Error"]["Code"] == "AccessDenied"
    assert set(permanent(room.store)) == before
    # Then everything is hidden: some below markers, some below other bytes, which are locked too.
    for number, key in enumerate(sorted(before)):
        name = {"Bucket": bucket, "Key": room.where.path(key)}
        if number % 3 == 0:
            client.delete_object(**name)
        else:
            lock: dict[str, Any] = {}
            if number % 3 == 1:
                until = room.store.locked_until(key)
                lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until}
            client.put_object(**name, Body=b"ransom", **lock)
    with pytest.raises(HoldfastError):
        room.open()
    assert set(hidden_objects(room.store)) == before
    report = unhide(room.store)
    assert set(report.restored) == before
    assert report.lost == []
    assert hidden_objects(room.store) == []
    room.assert_whole()
    assert unhide(room.store).restored == []
    run_compact(room.open(), AT_ONCE, **RUN)
    room.assert_whole()


def test_compact_deletes_nothing_while_something_is_hidden(soft_room: Room) -> None:
    client = boto_client()
    point = soft_room.open().points()[0].id
    name = {"Bucket": soft_room.where.bucket, "Key": soft_room.where.path(f"points/{point}")}
    client.delete_object(**name)
    with pytest.raises(ObjectsHidden):
        run_compact(soft_room.open(), AT_ONCE, **RUN)
    assert run_lock(soft_room.open(), **RUN).hidden == [f"points/{point}"]
    assert unhide(soft_room.store).restored == [f"points/{point}"]
    run_compact(soft_room.open(), AT_ONCE, **RUN)
    soft_room.assert_whole()


def test_nothing_is_written_while_the_rule_is_hidden(soft_room: Room) -> None:
    """Otherwise whoever has the credentials could end the locking of new points unseen."""
    (rule,) = (info.key for info in soft_room.store.list("immutability/"))
    boto_client().delete_object(Bucket=soft_room.where.bucket, Key=soft_room.where.path(rule))
    soft_room.engine.reopen()
    soft_room.engine.vm.disks["vda"].write(0, b"changed again")
    with pytest.raises(ObjectsHidden):
        soft_room.engine.back_up()
    with pytest.raises(ObjectsHidden):
        run_lock(soft_room.open(), **RUN)
    with pytest.raises(ObjectsHidden):
        run_compact(soft_room.open(), AT_ONCE, **RUN)
    assert unhide(soft_room.store).restored == [rule]
    soft_room.assert_whole()


def test_what_is_replaced_all_the_time_leaves_no_versions(room: Room) -> None:
    remove_hidden(room.store)
    names = [version["Key"] for version in room.versions()]
    mutable = [name for name in names if "/leases/" in name or "/.holdfast/" in name]
    assert len(mutable) == len(set(mutable)) <= 4, mutable
