"""What can go wrong in the demo, each with what to do about it. Knows no step of the demo."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.core.errors import Category, HoldfastError, Retry


@dataclass(kw_only=True, eq=False)
class HostNotReady(HoldfastError):
    """This host lacks something that only its administrator can add."""

    code = "demo_host_not_ready"
    template = "the demo needs {what}"
    hint = "{how}"
    what: str
    how: str


@dataclass(kw_only=True, eq=False)
class NotTheDemos(HoldfastError):
    """A VM or folder has the demo's name but was not made by it; it is never touched."""

    code = "demo_not_ours"
    category = Category.CONFLICT
    template = "{what} exists, but this demo did not make it"
    hint = "The demo removes only its own. Rename or remove it, or use another folder"
    what: str


@dataclass(kw_only=True, eq=False)
class GuestDidNotAnswer(HoldfastError):
    code = "demo_guest_silent"
    retry = Retry.LATER
    template = "the guest agent of {name} did not answer within {timeout_s:.0f} s (VM: {state})"
    hint = "The guest's console says how far it came: {console}"
    name: str
    timeout_s: float
    state: str
    console: str


@dataclass(kw_only=True, eq=False)
class GuestCommandFailed(HoldfastError):
    code = "demo_guest_command_failed"
    template = "{command} failed in {name} (exit status {status}): {output}"
    hint = "Look inside with: virsh -c qemu:///system console {name}"
    name: str
    command: str
    status: int
    output: str


@dataclass(kw_only=True, eq=False)
class ComparisonFailed(HoldfastError):
    """Something came back that is not what was protected. The demo's one unforgivable result."""

    code = "demo_comparison_failed"
    category = Category.INTEGRITY
    template = "{what}: expected {expected}, found {found}"
    hint = "VM and repository were left as they are, so that the cause can be found"
    what: str
    expected: str
    found: str


@dataclass(kw_only=True, eq=False)
class CommandFailed(HoldfastError):
    """One of the commands that the demo shows ended badly."""

    code = "demo_command_failed"
    template = "{command} ended with exit status {status}"
    hint = "VM and repository were left as they are; run the command by itself to look further"
    command: str
    status: int


@dataclass(kw_only=True, eq=False)
class ServiceFailed(HoldfastError):
    """The service did not start, or did not take what the demo told it."""

    code = "demo_service_failed"
    template = "the demo's service: {problem}"
    hint = "Its log says more: {log}"
    problem: str
    log: str
