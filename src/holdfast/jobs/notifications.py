"""Messages to people, by Apprise. An address holds passwords: it is opened here, used, and appears
in no log, error or answer.

Enter at `deliver` for one message to one address, at `Notifications.tell` for an event to all who
want it. A worker tells of its runs: `Notifications` is an `OnFinished` listener.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast

import structlog

from holdfast.catalog import notifications
from holdfast.catalog.database import Database, serialise
from holdfast.catalog.models import NotificationTarget, Run
from holdfast.catalog.repository_secrets import Sealer
from holdfast.catalog.waiting_messages import (
    WAITING,
    WaitingMessage,
    count_waiting,
    put_off,
    settle,
    take_due,
)
from holdfast.core.clock import Clock
from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.policy.run_states import RunKind, RunState

TABLE, COLUMN = "notification_target", "sealed_url"
_LOCAL = frozenset(
    {"dbus", "qt", "kde", "glib", "gnome", "macosx", "windows", "syslog", "file", "exec"}
)
"""They would act on the service's own host, not tell anybody."""
_PAUSES_S = (1.0, 5.0)
"""Before the second and the third attempt."""
_RESTORES = {RunKind.RESTORE_DISK.value, RunKind.RESTORE_VM.value}
_INTEGRITY = {RunKind.CHECK.value, RunKind.VERIFY.value, RunKind.REPAIR.value}
_DAMAGE = "damage_found"
_log: Any = structlog.get_logger("holdfast.notifications")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    event: str
    title: str
    body: str
    bad: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Address:
    target_id: str
    name: str
    url: str = field(repr=False)


def service_of(url: str) -> str:
    """What kind of service an address is for: `mailto`, `json`. Raises InvalidInput for what
    Apprise does not understand, without repeating it."""
    scheme = url.partition("://")[0].strip().lower()
    if scheme in _LOCAL:
        problem = "it names a program of the service's own host; nobody else would hear of it"
        raise InvalidInput(what="url", problem=problem)
    if _notifier(url) is None:
        problem = "it is no address that Apprise understands: see the list in its documentation"
        raise InvalidInput(what="url", problem=problem)
    return scheme


def deliver(url: str, message: Message) -> str:
    """Empty when it was accepted, else why not, in words that hold nothing of the address."""
    notifier = _notifier(url)
    if notifier is None:
        return "the address is not understood any more: enter it again"
    from apprise import NotifyType

    kind = NotifyType.FAILURE if message.bad else NotifyType.SUCCESS
    try:
        done = notifier.notify(title=message.title, body=message.body, notify_type=kind)
    except Exception as error:  # noqa: BLE001 - plugins raise whatever their services make them
        return f"it could not be sent ({type(error).__name__})"
    return "" if done else "the service did not take it, or could not be reached"


def message_of(run: Run) -> Message | None:
    """What is to be told of a run that has ended; None for what nobody waits for."""
    failed = run.state == RunState.FAILED.value
    completed = run.state == RunState.COMPLETED.value
    if run.kind in _INTEGRITY and run.error_code == _DAMAGE:
        event, title = "integrity_problem", "Holdfast: damage was found in a repository"
    elif run.kind == RunKind.LOCK.value and failed:
        event = "integrity_problem"
        title = "Holdfast: locks of an immutable repository could not be renewed"
    elif run.kind == RunKind.BACKUP.value and (failed or completed):
        event = "backup_failed" if failed else "backup_completed"
        title = f"Holdfast: backup of {run.vm_name} {'failed' if failed else 'completed'}"
    elif run.kind in _RESTORES and (failed or completed):
        event = "restore_failed" if failed else "restore_completed"
        title = f"Holdfast: restore of {run.vm_name} {'failed' if failed else 'completed'}"
    else:
        return None
    lines = [f"Run {run.id}"]
    if run.error_message:
        lines += [run.error_message, run.error_hint]
    elif completed:
        lines.append(f"{run.stored_bytes} bytes were stored, {run.read_bytes} read.")
    bad = not event.endswith("completed")
    return Message(event=event, title=title, body="\n".join(filter(None, lines)), bad=bad)


class Notifications:
    """Thread-safe. Slow: whoever calls waits for the services that are told."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        clock: Clock,
        *,
        pauses_s: Sequence[float] = _PAUSES_S,
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock
        self._pauses_s = tuple(pauses_s)

    def __call__(self, run: Run) -> None:
        message = message_of(run)
        if message is not None:
            self.tell(message)

    def tell(self, message: Message) -> None:
        """To every target that wants the event. Never raises for one that cannot be reached."""
        with self._database.reading() as session:
            rows = notifications.targets_of(session, message.event)
            session.expunge_all()
        for row in rows:
            try:
                address = self._address(row)
            except HoldfastError as error:
                self._record(row.id, error.message)
                continue
            self._send(address, message)

    def test(self, row: NotificationTarget) -> str:
        """One message, once; why it was not delivered, or empty. Raises when the stored address
        does not open."""
        message = Message(
            event="test",
            title="Holdfast: test message",
            body="If you can read this, messages of Holdfast reach you.",
            bad=False,
        )
        address = self._address(row)
        problem = deliver(address.url, message)
        self._record(row.id, problem)
        return problem

    def _send(self, address: _Address, message: Message) -> None:
        problem = deliver(address.url, message)
        for pause_s in self._pauses_s:
            if not problem:
                break
            time.sleep(pause_s)
            problem = deliver(address.url, message)
        if not problem:
            self._record(address.target_id, "")
            return
        _log.warning("not delivered", target=address.name, what=message.event, problem=problem)
        with self._database.writing() as session:
            serialise(session, WAITING)
            next_at = put_off(
                session,
                address.target_id,
                event=message.event,
                title=message.title,
                body=message.body,
                bad=message.bad,
                clock=self._clock,
            )
        self._record(address.target_id, _again(problem, next_at))

    def retry_due(self) -> int:
        """One more try for each message whose turn it is; how many were delivered."""
        with self._database.reading() as session:
            if not count_waiting(session):
                return 0
        with self._database.writing() as session:
            serialise(session, WAITING)
            due = take_due(session, self._clock)
        return sum(self._retry(message, next_at) for message, next_at in due)

    def _retry(self, waiting: WaitingMessage, next_at: datetime | None) -> bool:
        with self._database.reading() as session:
            row = session.get(NotificationTarget, waiting.target_id)
            session.expunge_all()
        if row is None or not row.enabled:
            self._settle(waiting)
            return False
        message = Message(
            event=waiting.event, title=waiting.title, body=waiting.body, bad=waiting.bad
        )
        try:
            problem = deliver(self._address(row).url, message)
        except HoldfastError as error:
            problem = error.message
        if not problem:
            self._settle(waiting)
        self._record(row.id, _again(problem, next_at))
        return not problem

    def _settle(self, waiting: WaitingMessage) -> None:
        with self._database.writing() as session:
            serialise(session, WAITING)
            settle(session, waiting.id, self._clock)

    def _record(self, target_id: str, problem: str) -> None:
        with self._database.writing() as session:
            notifications.record_sent(session, target_id, problem, self._clock.now())

    def _address(self, row: NotificationTarget) -> _Address:
        url = self._sealer.unseal(TABLE, row.id, COLUMN, row.sealed_url).decode()
        return _Address(target_id=row.id, name=row.name, url=url)


def _again(problem: str, next_at: datetime | None) -> str:
    """With what happens next; empty when there was no problem."""
    if not problem:
        return ""
    if next_at is None:
        return f"{problem}; a message was given up after a day"
    return f"{problem}; it is tried again at {next_at:%H:%M} UTC"


def _notifier(url: str) -> Any:
    """The plugin for this one address; None when Apprise does not understand it."""
    # Its log repeats addresses and what was sent.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    import apprise

    # `add` would take a list of addresses for what is to be one.
    return cast("Any", apprise).Apprise.instantiate(url, suppress_exceptions=True)
