"""Each way in which a service or the way to it can fail, on each operation of the S3 store.

The conformance suite (`tests/conformance`) says what the store does when nothing fails.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from holdfast.core.errors import HoldfastError, Retry
from holdfast.repository.errors import ObjectExists, ObjectMissing, StoreUnavailable
from holdfast.repository.store.s3 import S3Store
from holdfast.repository.store.s3_access import S3Location
from holdfast.repository.store.s3_bucket import Timeouts
from holdfast.repository.store.s3_faults import RetryPolicy, S3Refused
from holdfast.repository.store.s3_probe import TEMPORARY_FOLDER, BucketUnfit
from tests.support.s3_fault_proxy import (
    ANY_REQUEST,
    LISTINGS,
    UPLOADS,
    FaultProxy,
    Request,
    S3Fault,
)
from tests.support.seaweedfs import SECRET_ACCESS_KEY, S3Server, new_location

KEY = "packs/ab/abcdef"
DATA = bytes(range(256)) * 400
ONE_TRY = RetryPolicy(patience_s=0.0, first_patience_s=0.0)
IMPATIENT = Timeouts(by_bytes=(), longest_s=0.5)


@pytest.fixture
def where() -> S3Location:
    return new_location()


@pytest.fixture
def store(server: S3Server, proxy: FaultProxy, where: S3Location) -> S3Store:
    """Through the proxy, its first write behind it."""
    through = server.store(where, endpoint=proxy.endpoint, timeouts=IMPATIENT)
    through.put_new("config", [b"c"])
    return through


@pytest.fixture
def direct(server: S3Server, where: S3Location) -> S3Store:
    """The same place without the proxy: what is really there."""
    return server.store(where)


# -- faults that pass -----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [*UPLOADS, S3Fault.HANG])
def test_a_put_survives(store: S3Store, direct: S3Store, proxy: FaultProxy, fault: S3Fault) -> None:
    proxy.once(fault, method="PUT")
    store.put_new(KEY, [DATA[:1000], DATA[1000:]])
    assert proxy.requests[fault.value] == 1
    assert direct.get(KEY) == DATA
    with pytest.raises(ObjectExists):
        store.put_new(KEY, [DATA])


@pytest.mark.parametrize("fault", [*ANY_REQUEST, S3Fault.HANG])
def test_a_read_survives(
    store: S3Store, direct: S3Store, proxy: FaultProxy, fault: S3Fault
) -> None:
    direct.put_new(KEY, [DATA])
    reads: list[tuple[str, Callable[[], object], object]] = [
        ("GET", lambda: store.get(KEY), DATA),
        ("GET", lambda: store.get_range(KEY, 500, 2000), DATA[500:2500]),
        ("HEAD", lambda: store.stat(KEY).size_bytes, len(DATA)),
    ]
    for method, read, expected in reads:
        if (method, fault) == ("HEAD", S3Fault.PAGE_404):
            continue  # below: without a body it is not to be told from a missing object
        proxy.once(fault, method=method)
        assert read() == expected, method
    assert proxy.requests[fault.value] >= 2


def test_a_404_of_somebody_else_is_not_a_missing_object(
    server: S3Server, where: S3Location, direct: S3Store, proxy: FaultProxy
) -> None:
    direct.put_new(KEY, [DATA])
    store = server.store(where, endpoint=proxy.endpoint, policy=ONE_TRY)
    proxy.once(S3Fault.PAGE_404, method="HEAD")
    with pytest.raises(StoreUnavailable):
        store.stat(KEY)
    proxy.randomly(0, 1.0, faults=[S3Fault.PAGE_404])
    for call in (lambda: store.get(KEY), lambda: store.get_range(KEY, 0, 1)):
        with pytest.raises(StoreUnavailable):
            call()


@pytest.mark.parametrize("fault", [*ANY_REQUEST, S3Fault.HANG])
def test_a_delete_survives(
    store: S3Store, direct: S3Store, proxy: FaultProxy, fault: S3Fault
) -> None:
    direct.put_new(KEY, [DATA])
    proxy.once(fault, method="DELETE")
    store.delete(KEY)
    assert proxy.requests[fault.value] == 1
    with pytest.raises(ObjectMissing):
        direct.stat(KEY)


@pytest.mark.parametrize("fault", [*LISTINGS, S3Fault.HANG])
def test_a_listing_is_complete(
    store: S3Store, direct: S3Store, proxy: FaultProxy, fault: S3Fault
) -> None:
    names = [f"points/{number:03}" for number in range(9)]
    for name in names:
        direct.put_new(name, [b"x"])
    for prefix, expected in (("points/", names), ("", ["config", *names])):
        proxy.once(fault, method="LIST")
        assert sorted(info.key for info in store.list(prefix)) == expected
    assert proxy.requests[fault.value] == 2


@pytest.mark.parametrize("fault", [S3Fault.PAGE_200, S3Fault.LIST_CUT, S3Fault.LIST_TWICE])
def test_a_listing_that_stays_broken_is_an_error(
    server: S3Server, where: S3Location, direct: S3Store, proxy: FaultProxy, fault: S3Fault
) -> None:
    for number in range(3):
        direct.put_new(f"points/{number}", [b"x"])
    store = server.store(where, endpoint=proxy.endpoint, policy=ONE_TRY)
    seen: list[str] = []
    asked = iter([None])

    def plan(request: Request) -> S3Fault | None:
        """From the second on for PAGE_200: the first listing of the folder has shown the objects,
        whichever of those asked for at once that is."""
        if not request.is_listing:
            return None
        is_of_folder = "delimiter=" not in request.target
        if fault is S3Fault.PAGE_200 and is_of_folder and next(asked, fault) is None:
            return None
        return fault

    proxy.plan = plan
    with pytest.raises(StoreUnavailable):
        seen.extend(info.key for info in store.list("points/"))


def test_a_listing_of_several_pages_that_loses_its_token_goes_on(
    store: S3Store, direct: S3Store, proxy: FaultProxy
) -> None:
    names = [f"packs/{number:04}" for number in range(1100)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(direct.put_new, names, [[b"x"]] * len(names)))
    assert [info.key for info in store.list("packs/")] == names
    asked = proxy.requests["LIST"]
    assert asked <= 6, "three that a small folder would take, two pages and the proof of the end"
    assert [info.key for info in store.list("packs/")] == names
    assert proxy.requests["LIST"] - asked == 3, "not small any more"
    generator = iter([S3Fault.LIST_SHORT, S3Fault.RESET, S3Fault.LIST_SHORT])
    proxy.plan = lambda request: next(generator, None) if request.is_listing else None
    assert [info.key for info in store.list("packs/")] == names


# -- whose object is it ---------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [S3Fault.RESET, S3Fault.LATE_500, S3Fault.CUT_REQUEST])
def test_a_retried_put_does_not_take_anothers_object_for_its_own(
    store: S3Store, direct: S3Store, proxy: FaultProxy, fault: S3Fault
) -> None:
    direct.put_new(KEY, [b"another's"])
    proxy.once(fault, method="PUT")
    with pytest.raises(ObjectExists):
        store.put_new(KEY, [DATA])
    assert direct.get(KEY) == b"another's"


def test_a_put_without_any_answer_is_looked_up_before_it_is_given_up(
    server: S3Server, where: S3Location, store: S3Store, proxy: FaultProxy
) -> None:
    once = server.store(where, endpoint=proxy.endpoint, policy=ONE_TRY)
    once.put_new("points/a", [b"x"])
    proxy.once(S3Fault.LOST_ANSWER, method="PUT")
    once.put_new(KEY, [DATA])
    proxy.once(S3Fault.RESET, method="PUT")
    with pytest.raises(StoreUnavailable):
        once.put_new("packs/ab/other", [DATA])
    with pytest.raises(ObjectMissing):
        store.stat("packs/ab/other")


@pytest.mark.parametrize("seed", range(6))
def test_of_many_writers_behind_faults_one_wins(
    server: S3Server, where: S3Location, proxy: FaultProxy, seed: int
) -> None:
    stores = [server.store(where, endpoint=proxy.endpoint) for _ in range(4)]
    for number, each in enumerate(stores):
        each.put_new(f"config-{number}", [b"x"])
    proxy.randomly(seed, 0.4)

    def put(number: int) -> bool:
        try:
            stores[number].put_new(KEY, [b"%d" % number * 5000])
        except ObjectExists:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(put, range(4)))
    proxy.calm()
    assert won.count(True) == 1
    assert stores[0].get(KEY) == b"%d" % won.index(True) * 5000


# -- refusals -------------------------------------------------------------------------------------


def _operations(store: S3Store) -> Iterator[Callable[[], object]]:
    yield lambda: store.put_new("packs/new", [DATA])
    yield lambda: store.get(KEY)
    yield lambda: store.get_range(KEY, 0, 5)
    yield lambda: list(store.list("packs/"))
    yield lambda: store.stat(KEY)
    yield lambda: store.delete(KEY)
    yield store.now


@pytest.mark.parametrize(
    ("fault", "advice"), [(S3Fault.FORBIDDEN, "credentials"), (S3Fault.SKEWED, "clock")]
)
def test_a_refusal_is_said_at_once(
    store: S3Store, direct: S3Store, proxy: FaultProxy, fault: S3Fault, advice: str
) -> None:
    direct.put_new(KEY, [DATA])
    proxy.randomly(0, 1.0, faults=[fault])
    for operation in _operations(store):
        before = proxy.requests[fault.value]
        with pytest.raises(S3Refused) as raised:
            operation()
        assert raised.value.retry is Retry.NEVER
        assert advice in raised.value.advice
        assert proxy.requests[fault.value] - before <= 3, "those of one moment"
    proxy.calm()
    assert direct.get(KEY) == DATA


def test_an_unknown_bucket_and_a_wrong_key_are_said(server: S3Server) -> None:
    elsewhere = server.store(S3Location(bucket="no-such-bucket", prefix=""))
    for operation in _operations(elsewhere):
        with pytest.raises(S3Refused, match="Create the bucket"):
            operation()


def test_no_error_shows_a_secret(server: S3Server, proxy: FaultProxy) -> None:
    store = server.store(endpoint=proxy.endpoint, policy=ONE_TRY)
    assert SECRET_ACCESS_KEY not in repr(store.access)
    for fault in (S3Fault.FORBIDDEN, S3Fault.RESET, S3Fault.ERROR_500, S3Fault.PAGE_200):
        proxy.randomly(0, 1.0, faults=[fault])
        for operation in _operations(store):
            try:
                operation()
            except HoldfastError as error:
                text = "".join(traceback.format_exception(error)) + repr(error.params)
                assert SECRET_ACCESS_KEY not in text
                assert "AWS4-HMAC" not in text


# -- is the bucket fit ----------------------------------------------------------------------------


def test_a_good_bucket_is_left_empty(server: S3Server) -> None:
    store = server.store()
    store.prepare()
    assert list(store.list("")) == []
    assert store.remove_leftovers(older_than_s=-5) == 0


def test_a_bucket_that_ignores_conditions_is_refused(
    server: S3Server, where: S3Location, proxy: FaultProxy
) -> None:
    proxy.plan = lambda _request: S3Fault.UNCONDITIONAL
    for is_new in (True, False):
        store = server.store(where, endpoint=proxy.endpoint)
        store.now()
        with pytest.raises(BucketUnfit, match="only if absent"):
            store.prepare() if is_new else store.put_new(KEY, [DATA])
    assert list(server.store(where).list("")) == []


def test_whoever_asked_for_the_time_has_proven_the_condition(
    store: S3Store, proxy: FaultProxy
) -> None:
    store.now()
    before = proxy.requests["PUT"]
    store.put_new(KEY, [DATA])
    assert proxy.requests["PUT"] - before == 1


def test_a_bucket_whose_listings_lag_is_refused(
    server: S3Server, where: S3Location, proxy: FaultProxy
) -> None:
    store = server.store(where, endpoint=proxy.endpoint)
    list(store._bucket.everything(TEMPORARY_FOLDER))  # pyright: ignore[reportPrivateUsage]
    proxy.plan = lambda request: S3Fault.LIST_STALE if request.is_listing else None
    with pytest.raises(BucketUnfit, match="not in its listing"):
        store.prepare()


def test_leftovers_of_killed_probes_are_removed(server: S3Server, where: S3Location) -> None:
    store = server.store(where)
    store.put_new(KEY, [DATA])
    bucket = store._bucket  # pyright: ignore[reportPrivateUsage]
    bucket.create(f"{TEMPORARY_FOLDER}probe-0123", [b"x"])
    assert [info.key for info in store.list("")] == [KEY]
    assert store.remove_leftovers(older_than_s=3600) == 0
    assert store.remove_leftovers(older_than_s=-5) == 1
    assert [info.key for info in bucket.everything("")] == [KEY]


# -- the rest -------------------------------------------------------------------------------------


def test_time_is_the_services(store: S3Store, proxy: FaultProxy) -> None:
    proxy.server_ahead = timedelta(hours=1)
    store.put_new(KEY, [DATA])
    for moment in (store.now(), store.stat(KEY).modified, next(store.list("packs/")).modified):
        assert timedelta(minutes=59) < moment - datetime.now(UTC) < timedelta(minutes=61)


def test_an_upload_is_one_request(server: S3Server, proxy: FaultProxy) -> None:
    """No multipart upload, whatever the size: so none can be left unfinished."""
    store = server.store(endpoint=proxy.endpoint)  # however long a busy machine takes for it
    store.put_new("config", [b"c"])
    proxy.requests.clear()
    data = os.urandom(20 << 20)
    store.put_new(KEY, [data])
    assert dict(proxy.requests) == {"PUT": 1}


def test_an_endpoint_that_nobody_answers_is_said_soon(server: S3Server) -> None:
    store = server.store(endpoint="http://127.0.0.1:9", policy=RetryPolicy(first_patience_s=0.3))
    with pytest.raises(StoreUnavailable, match="Connection refused"):
        store.get("config")
