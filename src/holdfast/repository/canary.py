"""May this repository call itself immutable? A service can take locks and ignore them, credentials
can be allowed to bypass them, and root can take an attribute off. So an object is locked for a
minute, like any other, and attacked with everything that this process may do.

Enter at `test_immutability`; `last_verdict` is what the last test showed. Its record is knowledge
and not proof: whoever can write to the storage can remove it, nobody without the key can forge it.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from datetime import timedelta

from holdfast.core.clock import format_time, parse_time
from holdfast.core.errors import HoldfastError
from holdfast.core.ids import uuid7
from holdfast.repository.errors import (
    LocksUnsupported,
    ObjectDamaged,
    ObjectLocked,
    ObjectMissing,
)
from holdfast.repository.format.envelope import Kind
from holdfast.repository.format.immutability import (
    Immutability,
    Verdict,
    decode_verdict,
    encode_verdict,
)
from holdfast.repository.repository import Repository
from holdfast.repository.store.store import LockMode, ObjectLock, ObjectStore

_PROBES, _VERDICTS = "canaries/", "verdicts/"
_PROBE_S = 60
_NO_RULE = "no rule says that anything is to be locked"


def test_immutability(repository: Repository) -> Verdict:
    """Attack a locked object; record and return what that showed. Raises StoreUnavailable when
    it cannot be told, and ClockSkew."""
    repository.locks.forget()
    rule = repository.locks.rule
    now = parse_time(format_time(repository.locks.now()))
    if rule is None:
        return Verdict(is_immutable=False, reasons=(_NO_RULE,), tested_at=now)
    _clean_up(repository.store)
    reasons = attack_a_canary(repository.store, _probe_lock(repository, rule.mode))
    verdict = Verdict(is_immutable=not reasons, reasons=tuple(reasons), tested_at=now)
    _keep(repository, verdict)
    return verdict


def require_locks(repository: Repository, mode: str) -> None:
    """Before a rule is written: one that cannot be kept would fail every backup. Raises
    LocksUnsupported, StoreUnavailable, ClockSkew."""
    attack_a_canary(repository.store, _probe_lock(repository, mode), must_lock=True)


def attack_a_canary(store: ObjectStore, lock: ObjectLock, *, must_lock: bool = False) -> list[str]:
    """What worked against a new object with this lock, in words. Raises LocksUnsupported if
    `must_lock`."""
    key, content = f"{_PROBES}{secrets.token_hex(16)}", secrets.token_bytes(64)
    try:
        store.put_locked(key, [content], lock)
    except LocksUnsupported as error:
        if must_lock:
            raise
        return [error.problem]
    worked: list[str] = []
    try:
        until = store.locked_until(key)
        if until is None or until < lock.until:
            worked.append("the storage took the lock and does not keep it")
        worked += store.breaches(key)
        if not worked:
            if store.get(key) != content:
                worked.append("it was changed although every attempt was refused")
            kept = store.locked_until(key)
            if kept is None or kept < lock.until:
                worked.append("its lock was shortened although every attempt was refused")
    except ObjectMissing:
        worked.append("it is gone")
    finally:
        with suppress(ObjectLocked, ObjectMissing):
            store.delete(key)
    return worked


def last_verdict(repository: Repository) -> Verdict | None:
    """What the last test showed; None when there was none that can be read."""
    listed = repository.store.list(_VERDICTS)
    for info in sorted(listed, key=lambda info: (info.modified, info.key), reverse=True):
        with suppress(ObjectDamaged, ObjectMissing):
            stored = repository.store.get(info.key)
            plain = repository.sealer.open(Kind.CANARY, info.key, stored, key=info.key)
            return decode_verdict(plain, key=info.key)
    return None


def described(rule: Immutability | None, verdict: Verdict | None) -> str:
    """Whether a repository may call itself immutable, and why not, as a sentence."""
    if rule is None or not rule.days:
        return "Not immutable: new objects are not locked."
    what = f"points are locked for {rule.days} days ({rule.mode})"
    if verdict is None:
        return f"Not known to be immutable: {what}, and no test has shown that it holds."
    when = f"{verdict.tested_at:%Y-%m-%d %H:%M} UTC"
    if verdict.is_immutable:
        return f"Immutable: {what}; tested {when} by trying to delete, overwrite and shorten."
    return f"Not immutable, although {what}; tested {when}: {'; '.join(verdict.reasons)}."


def _probe_lock(repository: Repository, mode: str) -> ObjectLock:
    until = repository.locks.now() + timedelta(seconds=_PROBE_S)
    return ObjectLock(until=until.replace(microsecond=0), mode=LockMode(mode))


def _keep(repository: Repository, verdict: Verdict) -> None:
    """The new one is durable before the others go."""
    store = repository.store
    before = [info.key for info in store.list(_VERDICTS)]
    key = f"{_VERDICTS}{uuid7(repository.clock)}"
    store.put_new(key, [repository.sealer.seal(Kind.CANARY, key, encode_verdict(verdict))])
    for old in before:
        with suppress(ObjectMissing):
            store.delete(old)


def _clean_up(store: ObjectStore) -> None:
    """Canaries of earlier tests, as far as their locks have ended."""
    for info in list(store.list(_PROBES)):
        with suppress(HoldfastError):  # the next test tries again
            store.delete(info.key)
