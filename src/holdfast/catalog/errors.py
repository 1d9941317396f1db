"""What can be wrong with a request to the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.core.errors import Category, HoldfastError


@dataclass(kw_only=True, eq=False)
class NotInCatalogue(HoldfastError):
    """Also for what exists but may not be seen: who may not see it must not learn that it is."""

    code = "not_found"
    category = Category.NOT_FOUND
    template = "there is no {kind} {id}"
    hint = "It may have been removed; look at the list again"
    kind: str
    id: str


@dataclass(kw_only=True, eq=False)
class NameTaken(HoldfastError):
    code = "name_taken"
    category = Category.CONFLICT
    template = "there is a {kind} {name} already"
    hint = "Choose another name, or change the one that is there"
    kind: str
    name: str


@dataclass(kw_only=True, eq=False)
class StillUsed(HoldfastError):
    code = "still_used"
    category = Category.CONFLICT
    template = "the {kind} {name} is in use: {problem}"
    hint = "Wait until that has ended, or cancel it, then try again"
    kind: str
    name: str
    problem: str


@dataclass(kw_only=True, eq=False)
class VmNameAmbiguous(HoldfastError):
    code = "vm_name_ambiguous"
    category = Category.CONFLICT
    template = "{count} VMs are called {name}"
    hint = "Say which one by its vm_id"
    name: str
    count: int
