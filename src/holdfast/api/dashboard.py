"""Serves the built dashboard: a static export, looked through once at the start.

A page for a path that is not known at build time is exported as `_`: `/backups/<anything>` is
answered with `backups/_.html`, and its data `/backups/<anything>.txt` with `backups/_.txt`. Inline
scripts of a page are allowed by their hashes, everything else must come from here. Only files seen
at the start are served, so no path can lead out of the folder.
"""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.types import Receive, Scope, Send

_INLINE = re.compile(rb"<script(?![^>]*\bsrc=)[^>]*>(.*?)</script>", re.DOTALL | re.IGNORECASE)
_POLICY = (
    "default-src 'none'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; manifest-src 'self'; "
    "worker-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_FOREVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"
_NOT_BUILT = """\
<!doctype html><html lang="en"><meta charset="utf-8"><title>Holdfast</title>
<h1>The dashboard was not built</h1>
<p>The service runs, and its API is at <a href="/api/docs">/api/docs</a>. To have the dashboard, run
<code>make dashboard</code> in the checkout and start the service again.</p></html>
"""
_NO_PAGE = """\
<!doctype html><html lang="en"><meta charset="utf-8"><title>Not found</title>
<h1>There is no such page</h1><p><a href="/">To the dashboard</a></p></html>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    path: Path
    media_type: str
    headers: dict[str, str]


class Dashboard:
    """The ASGI application behind every path that is not the API."""

    def __init__(self, root: Path | None) -> None:
        self._files = _look_through(root) if root is not None else {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 4404})
            return
        path = str(scope["path"])
        if path == "/api" or path.startswith("/api/"):
            raise HTTPException(404)
        if scope["method"] not in {"GET", "HEAD"}:
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        await self._answer(path, Headers(scope=scope))(scope, receive, send)

    def _answer(self, path: str, headers: Headers) -> Response:
        del headers
        if not self._files:
            return HTMLResponse(_NOT_BUILT, status_code=200 if path == "/" else 404)
        if len(path) > 1 and path.endswith("/"):
            # Never to another host: `//elsewhere/` would be one.
            return RedirectResponse("/" + path.strip("/"), status_code=308)
        found = self.find(path)
        if found is not None:
            return FileResponse(found.path, media_type=found.media_type, headers=found.headers)
        missing = self._files.get("404.html")
        if missing is None:
            return HTMLResponse(_NO_PAGE, status_code=404)
        return FileResponse(
            missing.path, media_type=missing.media_type, headers=missing.headers, status_code=404
        )

    def find(self, path: str) -> _File | None:
        """The file for a path: itself, its page, or the page for any name in its folder."""
        name = path.lstrip("/") or "index"
        for candidate in (name, f"{name}.html"):
            if candidate in self._files:
                return self._files[candidate]
        parts = PurePosixPath(name)
        ending = parts.suffix if parts.suffix == ".txt" else ".html"
        return self._stand_in(list(parts.parts), ending)

    def _stand_in(self, parts: list[str], ending: str) -> _File | None:
        """`_` for as few parts as possible, the last ones first."""
        if ending == ".txt":
            parts = [*parts[:-1], parts[-1].removesuffix(".txt")]
        for mask in range(1, 1 << min(len(parts), 6)):
            tried = [
                "_" if mask >> (len(parts) - 1 - at) & 1 else part for at, part in enumerate(parts)
            ]
            found = self._files.get("/".join(tried) + ending)
            if found is not None:
                return found
        return None


def _look_through(root: Path) -> dict[str, _File]:
    files: dict[str, _File] = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        name = path.relative_to(root).as_posix()
        files[name] = _File(path=path, media_type=_media_type(path), headers=_headers(name, path))
    return files


def _headers(name: str, path: Path) -> dict[str, str]:
    headers = {"Cache-Control": _FOREVER if name.startswith("_next/static/") else _ASK_AGAIN}
    if path.suffix == ".html":
        headers["Content-Security-Policy"] = policy_for(path.read_bytes())
    return headers


def policy_for(page: bytes) -> str:
    """The policy of one page: its own inline scripts by their hashes."""
    hashes = dict.fromkeys(
        base64.b64encode(hashlib.sha256(script).digest()).decode()
        for script in _INLINE.findall(page)
        if script
    )
    return _POLICY.format(hashes="".join(f" 'sha256-{value}'" for value in hashes))


def _media_type(path: Path) -> str:
    if path.suffix == ".txt":
        return "text/x-component; charset=utf-8"
    found = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if found.startswith("text/") or found in {"application/json", "text/javascript"}:
        return f"{found}; charset=utf-8"
    return found
