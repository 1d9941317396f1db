"""One tree of errors. Each has a stable `code`, says whether trying again can help, carries typed
fields, and ends in what the reader can do. Vendor errors are mapped to these at one boundary and
never travel further. No transport (HTTP, exit codes) in here beyond the class of failure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import ClassVar


class Retry(Enum):
    """What the caller may do next."""

    NEVER = "never"
    """Trying the same again gives the same."""
    LATER = "later"
    """The cause may pass by itself: busy, unreachable, full."""
    NOW = "now"
    """The state was cleaned up; trying again at once is right."""


class Category(Enum):
    """Class of failure, mapped to an exit code by the command line and to a status by the API."""

    FAILED = "failed"
    USAGE = "usage"
    INTEGRITY = "integrity"
    INTERRUPTED = "interrupted"
    CONFLICT = "conflict"
    NOT_FOUND = "not_found"


@dataclass(kw_only=True, eq=False)
class HoldfastError(Exception):
    """Base of every error Holdfast raises on purpose.

    `template` is filled with the fields; `hint` says what to do next and may use them too.
    """

    code: ClassVar[str] = "internal_error"
    category: ClassVar[Category] = Category.FAILED
    retry: ClassVar[Retry] = Retry.NEVER
    template: ClassVar[str] = "internal error"
    hint: ClassVar[str] = ""

    @property
    def message(self) -> str:
        return self.template.format(**vars(self))

    @property
    def advice(self) -> str:
        return self.hint.format(**vars(self))

    @property
    def params(self) -> dict[str, object]:
        """The typed fields, for problem documents and JSON output."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __str__(self) -> str:
        return f"{self.message}. {self.advice}" if self.advice else self.message


@dataclass(kw_only=True, eq=False)
class Cancelled(HoldfastError):
    code = "cancelled"
    category = Category.INTERRUPTED
    retry = Retry.NOW
    template = "stopped: {reason}"
    hint = "Nothing half-done was kept; run it again when you are ready"
    reason: str


@dataclass(kw_only=True, eq=False)
class InjectedFault(HoldfastError):
    code = "injected_fault"
    template = "failpoint {failpoint} was armed"
    failpoint: str


@dataclass(kw_only=True, eq=False)
class InvalidInput(HoldfastError):
    code = "invalid_input"
    category = Category.USAGE
    template = "{what}: {problem}"
    what: str
    problem: str


@dataclass(kw_only=True, eq=False)
class ToolMissing(HoldfastError):
    code = "tool_missing"
    template = "the program {tool} is not installed"
    hint = "Install it with: apt-get install {package}"
    tool: str
    package: str


@dataclass(kw_only=True, eq=False)
class ToolFailed(HoldfastError):
    """A supervised program ended badly. `output` is its standard error, shortened."""

    code = "tool_failed"
    retry = Retry.LATER
    template = "{tool} failed (exit status {status}): {output}"
    tool: str
    status: int
    output: str


@dataclass(kw_only=True, eq=False)
class ToolStalled(ToolFailed):
    """A supervised program read nothing and computed nothing for so long that it was given up."""

    code = "tool_stalled"
    template = "{tool} was given up: {output}"
    hint = "Check that the storage it works on answers"


@dataclass(kw_only=True, eq=False)
class TargetExists(HoldfastError):
    code = "target_exists"
    category = Category.CONFLICT
    template = "{path} exists already"
    hint = "Choose another name, or remove it first; Holdfast overwrites nothing by itself"
    path: str


@dataclass(kw_only=True, eq=False)
class OutOfSpace(HoldfastError):
    code = "out_of_space"
    retry = Retry.LATER
    template = "no space left at {location}"
    hint = "Free space there (or prune old points), then run it again; what was stored is kept"
    location: str
