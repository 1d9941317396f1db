"""The OpenAPI document: what FastAPI derives, completed with problems, security and the permission
that each route needs. `python -m holdfast.api.openapi` prints it; the dashboard's client is
generated from that."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from holdfast.api.access.requirement import Public, Requirement
from holdfast.api.access.rules import RuledRoute
from holdfast.api.event_payloads import EVENTS
from holdfast.api.problems import MEDIA_TYPE
from holdfast.api.schemas.common import Problem

_DESCRIPTION = """\
REST under `/api/v1`, JSON in snake_case, times in RFC 3339 and UTC, sizes in bytes.

Errors are `application/problem+json` (RFC 9457) with a stable `code`, a `detail` that says what to
do next, and typed `params`. Unsafe calls accept `Idempotency-Key`. Programs send a token as
`Authorization: Bearer hf_…`; browsers have a session cookie. `x-permission` names what a call
needs.
"""
_WORDS = {
    "400": "The request cannot be understood",
    "401": "Not signed in",
    "403": "Not allowed, or from another site",
    "404": "Not there, or not visible to you",
    "408": "The body came too slowly",
    "409": "It does not fit the present state",
    "413": "The body is too large",
    "414": "The address is too long",
    "422": "Something in the request is wrong: see `fields`",
    "429": "Too many attempts: see `Retry-After`",
    "500": "Unexpected; the service's log says more under the request id",
    "503": "Something that it needs is not reachable now: see `Retry-After`",
}


def install(app: FastAPI) -> None:
    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = build(app)
        return app.openapi_schema

    app.openapi = document


def build(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=_DESCRIPTION,
        routes=app.routes,
        license_info={"name": "AGPL-3.0-or-later", "identifier": "AGPL-3.0-or-later"},
        openapi_version="3.1.0",
    )
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    _add_schema(Problem, schemas)
    _add_events(document, schemas)
    components["securitySchemes"] = {
        "session": {"type": "apiKey", "in": "cookie", "name": "__Host-holdfast"},
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "hf_<id>_<secret>"},
    }
    routes: Sequence[RuledRoute] = app.state.routes
    for route in routes:
        for method in (method.lower() for method in route.methods):
            operation = document["paths"].get(route.path, {}).get(method)
            if operation is not None:
                _complete(operation, route, method)
    components["schemas"] = dict(sorted(schemas.items()))
    document["paths"] = dict(sorted(document["paths"].items()))
    return document


def _complete(operation: dict[str, Any], route: RuledRoute, method: str) -> None:
    rule = route.rule
    codes = {"400", "408", "413", "414", "422", "500", "503"}
    if isinstance(rule, Public):
        operation["security"] = []
        codes |= {"401", "403", "409", "429"}
    else:
        operation["security"] = [{"session": []}, {"token": []}]
        codes |= {"401", "403", "404", "409", "429"}
    if "{" in route.path:
        codes.add("404")
    if isinstance(rule, Requirement):
        operation["x-permission"] = rule.permission.value
        operation["x-permission-everywhere"] = rule.everywhere
    if method != "get":
        codes.add("409")
        operation.setdefault("parameters", []).append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "The same key again gets the stored answer of the first call.",
                "schema": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 200,
                    "pattern": "^[!-~]+$",
                },
            }
        )
    responses = operation.setdefault("responses", {})
    for code in sorted(codes):
        responses[code] = {
            "description": _WORDS[code],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }


def _add_events(document: dict[str, Any], schemas: dict[str, Any]) -> None:
    """OpenAPI has no word for them: the payloads are among the schemas, and named in one place."""
    names: dict[str, Any] = {}
    for event, model in sorted(EVENTS.items()):
        _add_schema(model, schemas)
        names[event] = {"$ref": f"#/components/schemas/{model.__name__}"}
    document["x-socket-io"] = {"path": "/socket.io", "events": names}


def _add_schema(model: type[BaseModel], schemas: dict[str, Any]) -> None:
    found = model.model_json_schema(
        ref_template="#/components/schemas/{model}", mode="serialization"
    )
    for name, schema in found.pop("$defs", {}).items():
        schemas.setdefault(name, schema)
    schemas[model.__name__] = found


def render() -> str:
    """As committed: web/openapi.json."""
    from holdfast.api.app import create_app
    from holdfast.api.context import build_context
    from holdfast.catalog.database import Database
    from holdfast.catalog.sealing import Sealing
    from holdfast.core.clock import SystemClock
    from holdfast.settings import ServiceSettings

    nowhere = Path("/nonexistent")
    settings = ServiceSettings(
        state_root=nowhere,
        database_url="sqlite:////nonexistent/holdfast.db",
        sealing_key_file=nowhere,
        dashboard_root=None,
        cache_root=nowhere,
        scratch_root=nowhere,
    )
    database = Database.open(settings.database_url)  # connects with the first use: never
    context = build_context(settings, database, Sealing(nowhere, []), SystemClock())
    return json.dumps(create_app(context).openapi(), indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    if sys.argv[1:2] == ["--check"]:
        target = Path(sys.argv[2])
        if not target.exists() or target.read_text() != render():
            sys.stderr.write(f"{target} is out of date: run `make openapi`\n")
            return 1
        return 0
    sys.stdout.write(render())
    return 0


if __name__ == "__main__":
    sys.exit(main())
