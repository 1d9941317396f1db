"""The document itself and a page that shows it, from files of this package: nothing is loaded from
elsewhere, so it works offline and under the strict policy."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

_STATIC = Path(__file__).parent / "static"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)


def install(app: FastAPI, prefix: str) -> None:
    async def openapi_json(request: Request) -> Response:
        del request
        return JSONResponse(await run_in_threadpool(app.openapi))

    def file(name: str) -> None:
        async def page(request: Request) -> Response:
            del request
            return FileResponse(_STATIC / name, headers={"Content-Security-Policy": _POLICY})

        path = "/api/docs" if name == "docs.html" else f"/api/docs/{name}"
        app.add_route(path, page, include_in_schema=False)

    app.add_route(f"{prefix}/openapi.json", openapi_json, include_in_schema=False)
    for name in ("docs.html", "docs.js", "docs.css"):
        file(name)
