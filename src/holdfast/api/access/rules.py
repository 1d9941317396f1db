"""Reads from the built application what each route requires. Enter at `require_rules`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from holdfast.api.access.requirement import Public, Requirement, SignedIn

Rule = Requirement | SignedIn | Public


class OpenByOmission(RuntimeError):
    """A route that says neither what it requires nor that it is public, or says both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuledRoute:
    path: str
    """With its prefix and parameters in braces."""
    methods: frozenset[str]
    name: str
    """Of the function: the operationId."""
    rule: Rule


def require_rules(app: FastAPI) -> Sequence[RuledRoute]:
    """All routes, each with exactly one rule and a name of its own. Raises OpenByOmission."""
    found: dict[str, RuledRoute] = {}
    for context in iter_route_contexts(app.routes):
        what = f"{sorted(context.methods or ())} {context.path}"
        if not isinstance(context.original_route, APIRoute):
            raise OpenByOmission(f"{what} is no API route")
        rules = list(_rules(context.dependant))
        if len(rules) != 1:
            raise OpenByOmission(f"{what} has {len(rules)} rules")
        route = RuledRoute(
            path=str(context.path_format),
            methods=frozenset(context.methods or ()),
            name=str(context.name),
            rule=rules[0],
        )
        if route.name in found:
            raise OpenByOmission(f"two routes are called {route.name}")
        found[route.name] = route
    return list(found.values())


def _rules(dependant: Dependant) -> Iterator[Rule]:
    for part in dependant.dependencies:
        call: Any = part.call
        if isinstance(call, Requirement | SignedIn | Public):
            yield call
        yield from _rules(part)
