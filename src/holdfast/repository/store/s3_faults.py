"""What went wrong with a request to S3, and what follows from it. The one place that reads the
words of obstore's exceptions: it gives the HTTP status and the answer's body only as text.

Enter at `fault_of`. Nothing of an answer but its `<Code>` and `<Message>` goes further: Amazon
repeats the signed headers, the session token among them, in some refusals.
"""

from __future__ import annotations

import html
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from obstore.exceptions import AlreadyExistsError, BaseError, InvalidPathError

from holdfast.core.errors import HoldfastError, OutOfSpace, Retry
from holdfast.repository.errors import StoreUnavailable

S3_ERRORS = (BaseError, FileNotFoundError)
"""What obstore raises for a request that failed."""

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>([A-Za-z0-9.]{1,64})</Code>")
_MESSAGE = re.compile(r"<Message>([^<]{1,300})")
_TRANSPORT = re.compile(r"in [0-9.]+[a-zµ]+ - (.{1,200})")
_CAUSE = re.compile(
    r'message: "([^"]{1,80})"|(dns error|TimedOut|certificate[^"]{1,80}|operation timed out)'
)
"""In the part of the text that is for programmers; taken from there for want of a better place,
and only where no answer came, so that no answer is quoted."""

_PASSING_STATUS = {408, 409, 425, 429, 500, 502, 503, 504}
_PASSING_CODES = {
    "BadDigest",  # these four: the body was changed or cut on the way
    "IncompleteBody",
    "InvalidDigest",
    "XAmzContentSHA256Mismatch",
    "RequestTimeout",
    "SlowDown",
    "OperationAborted",
}
_FULL_CODES = {"QuotaExceeded", "InsufficientCapacity", "XMinioStorageFull", "StorageFull"}
_REMEDIES = {
    "AccessDenied": "These credentials need GetObject, PutObject, DeleteObject and ListBucket here",
    "InvalidAccessKeyId": "Check the access key: the service does not know it",
    "SignatureDoesNotMatch": "Check the secret key; a proxy that alters requests does this too",
    "RequestTimeTooSkewed": "Set this machine's clock (timedatectl): it differs too much",
    "RequestExpired": "Set this machine's clock (timedatectl): it differs too much",
    "ExpiredToken": "The session token has expired; get new credentials",
    "InvalidToken": "Check the session token; it belongs to another access key",
    "NoSuchBucket": "Create the bucket first, or check its name and the endpoint",
    "PermanentRedirect": "Set AWS_REGION to the region of the bucket",
    "TemporaryRedirect": "The bucket is new or moving; try again later or set AWS_REGION",
    "AuthorizationHeaderMalformed": "Set AWS_REGION to the region of the bucket",
    "IllegalLocationConstraintException": "Set AWS_REGION to the region of the bucket",
    "NotImplemented": "This service lacks something that Holdfast needs",
}
_STATUS_REMEDIES = {
    301: _REMEDIES["PermanentRedirect"],
    403: "Check the credentials, their permissions and this machine's clock",
}


@dataclass(kw_only=True, eq=False)
class S3Refused(StoreUnavailable):
    """The service understood and said no: asking again gives the same."""

    code = "s3_refused"
    retry = Retry.NEVER
    template = "{location} refused: {problem}"
    hint = "{remedy}"
    remedy: str


class Kind(Enum):
    PASSING = "passing"
    """May work when tried again. Whether the request was carried out is unknown."""
    MISSING = "missing"
    EXISTS = "exists"
    OUTSIDE = "outside"
    """A range begins behind the end of the object."""
    FULL = "full"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    kind: Kind
    problem: str
    remedy: str = ""
    code: str = ""
    """S3's own, when it gave one."""

    def error(self, location: str) -> HoldfastError:
        if self.kind is Kind.FULL:
            return OutOfSpace(location=location)
        if self.kind is Kind.PASSING:
            return StoreUnavailable(location=location, problem=self.problem)
        remedy = self.remedy or "Check the bucket and the credentials"
        return S3Refused(location=location, problem=self.problem, remedy=remedy)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Waits grow twofold from `first_delay_s` to `longest_delay_s`, with jitter. No attempt begins
    later than `patience_s` after the first failure: a lease lasts 60 s without a refresh, so a
    backup gains nothing from more. Before the service has answered once in this process, a wrong
    address is likelier than a pause: then `first_patience_s`."""

    patience_s: float = 60.0
    first_patience_s: float = 5.0
    first_delay_s: float = 0.2
    longest_delay_s: float = 8.0


class RequestFailed(Exception):
    """For the callers in this folder; never leaves it."""

    def __init__(self, fault: Fault, *, unclear: bool) -> None:
        super().__init__(fault.problem)
        self.fault = fault
        self.unclear = unclear
        """An attempt ended without an answer that says whether it was carried out."""


class Attempts:
    """The attempts of one operation."""

    def __init__(self, policy: RetryPolicy, *, answered: bool = True) -> None:
        self._policy = policy
        self._patience_s = policy.patience_s if answered else policy.first_patience_s
        self.restart()

    def restart(self) -> None:
        """Something was achieved: patience begins anew."""
        self._delay_s = self._policy.first_delay_s
        self._first_failure: float | None = None

    def failed(self, fault: Fault) -> None:
        """Wait before the next attempt. Raises RequestFailed when there is to be none."""
        if fault.kind is not Kind.PASSING:
            raise RequestFailed(fault, unclear=self._first_failure is not None)
        now = time.monotonic()
        if self._first_failure is None:
            self._first_failure = now
        pause_s = self._delay_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, no secret
        if now + pause_s > self._first_failure + self._patience_s:
            raise RequestFailed(fault, unclear=True)
        time.sleep(pause_s)
        self._delay_s = min(2 * self._delay_s, self._policy.longest_delay_s)


_T = TypeVar("_T")


def request(attempts: Attempts, act: Callable[[], _T], *, is_head: bool = False) -> _T:
    """Carry out one request, again while that can help. Raises RequestFailed."""
    while True:
        try:
            return act()
        except S3_ERRORS as error:
            attempts.failed(fault_of(error, is_head=is_head))


def fault_of(error: Exception, *, is_head: bool = False) -> Fault:
    """Never by obstore's class alone: it calls every 409 an existing object and every 404, a
    missing bucket's or a proxy's page included, a missing one."""
    text, _, details = str(error).partition("\n\nDebug source:")
    if isinstance(error, InvalidPathError):
        remedy = "Give the repository a prefix of its own, and move what is not Holdfast's"
        return Fault(kind=Kind.REFUSED, problem=text[:300], remedy=remedy)
    status_match, code_match = _STATUS.search(text), _CODE.search(text)
    status = int(status_match[1]) if status_match else 0
    code = code_match[1] if code_match else ""
    if not status and isinstance(error, AlreadyExistsError):
        status = 412
    if not status:
        return Fault(kind=Kind.PASSING, problem=_transport_problem(text, details))
    message = _MESSAGE.search(text)
    said = html.unescape(message[1]).strip() if message else ""
    return fault_of_answer(status, code, said, is_head=is_head)


def fault_of_answer(status: int, code: str, message: str, *, is_head: bool = False) -> Fault:
    """What an answer of the service means, whichever library received it."""
    problem = " ".join(part for part in (f"HTTP {status}", code, message) if part)
    remedy = _REMEDIES.get(code) or _STATUS_REMEDIES.get(status, "")
    kind = _kind(status, code, is_head=is_head)
    return Fault(kind=kind, problem=problem, remedy=remedy, code=code)


def _kind(status: int, code: str, *, is_head: bool) -> Kind:
    if status == 412:
        return Kind.EXISTS
    if status == 416:
        return Kind.OUTSIDE
    if code in _FULL_CODES or status == 507:
        return Kind.FULL
    if status == 404 and code != "NoSuchBucket":
        # Without S3's own code it is anybody's 404; the answer to HEAD has no room for a code.
        return Kind.MISSING if code == "NoSuchKey" or is_head else Kind.PASSING
    if not status or status in _PASSING_STATUS or code in _PASSING_CODES:
        return Kind.PASSING
    return Kind.REFUSED


def _transport_problem(text: str, details: str) -> str:
    transport = _TRANSPORT.search(text)
    said = transport[1] if transport else text.removeprefix("Generic S3 error: ")[:200]
    cause = _CAUSE.search(details)
    why = f" ({cause[1] or cause[2]})" if cause else ""
    return said.replace("\n", " ") + why
