"""What can go wrong with a run beside what the data path raises."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.core.errors import Category, HoldfastError, Retry


@dataclass(kw_only=True, eq=False)
class MoverDied(HoldfastError):
    code = "mover_died"
    retry = Retry.LATER
    template = "the process that moved the bytes ended without a word (exit status {status})"
    hint = "The worker's log has its last lines; a killed process is often one without memory"
    status: int


@dataclass(kw_only=True, eq=False)
class InternalError(HoldfastError):
    code = "internal"
    template = "a fault of Holdfast itself: {problem}"
    hint = "The worker's log has the details; please report it"
    problem: str


@dataclass(kw_only=True, eq=False)
class DamageFound(HoldfastError):
    code = "damage_found"
    category = Category.INTEGRITY
    template = "{found} in {location}: {effect}"
    hint = (
        "The run's log names them. Repair brings back what a copy in another repository has, the "
        "next backup what its VM still has. Compact deletes damaged packs that no restore point "
        "needs. Then verify again"
    )
    location: str
    found: str
    """What is damaged and how much of it: `2 damaged packs`."""
    effect: str
    """What that means for restore points."""


@dataclass(kw_only=True, eq=False)
class LocksIncomplete(HoldfastError):
    code = "locks_incomplete"
    category = Category.INTEGRITY
    template = "of what should be locked in {location}, {missing} are missing and {hidden} hidden"
    hint = (
        "Everything else is locked. The run's log names them: bring hidden objects back with "
        "`holdfast repository unhide {location}`, then check the repository"
    )
    location: str
    missing: int
    hidden: int


@dataclass(kw_only=True, eq=False)
class PlanChanged(HoldfastError):
    code = "plan_changed"
    category = Category.CONFLICT
    template = (
        "{confirmed} points were confirmed to be deleted; by now {points} would be, and {others} "
        "of them differ"
    )
    hint = "Nothing was deleted; look at the preview again"
    confirmed: int
    points: int
    others: int
    """In one of the two sets and not in the other."""


@dataclass(kw_only=True, eq=False)
class WorkerRunning(HoldfastError):
    code = "worker_running"
    category = Category.CONFLICT
    template = "a worker called {name} runs on this host already"
    hint = "Give this one another name with --name"
    name: str


@dataclass(kw_only=True, eq=False)
class GoneFromCatalogue(HoldfastError):
    """A run outlives what it was about."""

    code = "gone_from_catalogue"
    category = Category.NOT_FOUND
    retry = Retry.NEVER
    template = "the {what} of this run was removed"
    hint = "Add it again and start a new run"
    what: str
