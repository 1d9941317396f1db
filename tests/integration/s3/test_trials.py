"""Backups through a service that fails at random, judged by the oracle without the faults.

Each trial is a backup of a small VM, full or incremental, and a read of what it stored, under one
seed. A run may fail, with an error of ours. After every few trials the oracle says whether all that
was acknowledged is there, nothing half is visible, and the next backup succeeds without help.
`HOLDFAST_TEST_S3_TRIALS` runs more.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from holdfast.core.errors import HoldfastError
from holdfast.core.units import KIB
from holdfast.repository import Repository
from holdfast.repository.errors import LeaseHeld
from holdfast.repository.store.s3 import S3Store
from holdfast.repository.store.s3_access import S3Location
from holdfast.repository.store.s3_bucket import Timeouts
from holdfast.repository.store.s3_faults import RetryPolicy
from tests.support.engine import CHUNK_BYTES, CREDENTIAL, Engine, small_packs
from tests.support.oracle import assert_repository_sound, read_point
from tests.support.s3_fault_proxy import FaultProxy, Request, S3Fault
from tests.support.seaweedfs import S3Server, new_location

_TRIALS = int(os.environ.get("HOLDFAST_TEST_S3_TRIALS", "200"))
_GROUPS = 10
_JUDGED_TOGETHER = 5
_RATES = (0.02, 0.05, 0.1, 0.2, 0.35)
_POLICY = RetryPolicy(
    patience_s=0.15, first_patience_s=0.15, first_delay_s=0.001, longest_delay_s=0.02
)
_TIMEOUTS = Timeouts(by_bytes=(), longest_s=0.4)
_LASTING = (S3Fault.FORBIDDEN, S3Fault.SKEWED, S3Fault.ERROR_503, S3Fault.LIST_STALE, S3Fault.RESET)
"""Faults that, once begun, stay to the end of the run."""
_SCOPES = ("", "/packs/", "/index/", "/points/")
"""All requests, or the PUTs of such objects: what a run goes on without must not be committed."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What happened in a group of trials: a test in which nothing fails proves nothing."""

    outcomes: Counter[str] = field(default_factory=Counter[str])

    def require_both(self) -> None:
        failed = sum(count for name, count in self.outcomes.items() if name != "done")
        assert self.outcomes["done"], f"no backup succeeded: {self.outcomes}"
        assert failed, f"no backup failed: {self.outcomes}"


@pytest.mark.slow
@pytest.mark.parametrize("group", range(_GROUPS))
def test_no_fault_of_the_service_loses_a_point(
    server: S3Server, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    small_packs(monkeypatch)
    tally = Tally()
    where, engine = _new_engine(server)
    seeds = range(group, _TRIALS, _GROUPS)
    for start in range(0, len(seeds), _JUDGED_TOGETHER):
        together = seeds[start : start + _JUDGED_TOGETHER]
        for seed in together:
            through = server.store(
                where, endpoint=proxy.endpoint, policy=_POLICY, timeouts=_TIMEOUTS
            )
            tally.outcomes[_try(engine, through, proxy, seed)] += 1
        proxy.calm()
        proxy.server_ahead = timedelta()
        lease_is_left = not _judge(engine, together)
        if lease_is_left or tally.outcomes[LeaseHeld.code]:
            # A fault kept a lease from being given up, and its holder, this process, lives on.
            where, engine = _new_engine(server)
            del tally.outcomes[LeaseHeld.code]
    print(f"outcomes {dict(tally.outcomes)}, faults {dict(proxy.requests)}")
    tally.require_both()


def _try(engine: Engine, store: S3Store, proxy: FaultProxy, seed: int) -> str:
    """The code of the error it ended in, or `done`."""
    generator = random.Random(seed)
    proxy.server_ahead = timedelta(minutes=generator.choice((0, 0, 16, -16)))
    _plan(proxy, seed, generator)
    _change(engine, generator)
    try:
        repository = Repository.open(store, CREDENTIAL)
        result = engine.back_up(repository=repository, full=generator.random() < 0.2)
        read_point(repository, repository.point(result.manifest.id))
    except HoldfastError as error:
        return error.code
    return "done"


def _new_engine(server: S3Server) -> tuple[S3Location, Engine]:
    where = new_location()
    disks = {"vda": 16 * CHUNK_BYTES, "vdb": 20 * KIB + 511}
    return where, Engine.create(server.store(where), disks=disks)


def _plan(proxy: FaultProxy, seed: int, generator: random.Random) -> None:
    """Passing faults at some rate; in half of the trials one that stays, from some request on, for
    all requests or for those to one kind of object."""
    proxy.randomly(seed, generator.choice(_RATES))
    if generator.random() < 0.5:
        return
    lasting, scope = generator.choice(_LASTING), generator.choice(_SCOPES)
    at_random, before = proxy.plan, proxy.requests.total()
    begins = generator.randrange(60) if not scope else 0

    def plan(request: Request) -> S3Fault | None:
        has_begun = proxy.requests.total() - before > begins
        in_scope = scope in request.target and (request.method == "PUT" or not scope)
        return lasting if has_begun and in_scope else at_random(request)

    proxy.plan = plan


def _change(engine: Engine, generator: random.Random) -> None:
    for disk in engine.vm.disks.values():
        offset = generator.randrange(disk.size_bytes - 512)
        length = min(generator.randrange(512, 5 * CHUNK_BYTES), disk.size_bytes - offset)
        disk.write(offset, generator.randbytes(length))


def _judge(engine: Engine, seeds: Sequence[int]) -> bool:
    """False when all is sound but a lease is left."""
    try:
        assert_repository_sound(
            engine.store,
            CREDENTIAL,
            engine.acknowledged,
            next_backup=engine.next_backup,
        )
    except AssertionError as error:
        if isinstance(error.__cause__, LeaseHeld):
            return False  # everything else was judged before
        raise AssertionError(f"seeds {list(seeds)}: {error}") from error
    # What is acknowledged once is read in every later trial; keep that short.
    while len(engine.acknowledged) > 4:
        oldest = min(engine.acknowledged)
        Repository.open(engine.store, CREDENTIAL).delete_point(oldest)
        del engine.acknowledged[oldest]
    return True
