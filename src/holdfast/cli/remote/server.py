"""One service, asked with one token. Every answer that is not what was asked for is an error in
words: the service's own, or that there is no service."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httpx

from holdfast.cli.remote.errors import (
    NotAHoldfastServer,
    NotLoggedIn,
    ServerRefused,
    ServerUnreachable,
)
from holdfast.cli.remote.login_file import read_login
from holdfast.cli.runtime import Runtime, command
from holdfast.core.errors import InvalidInput
from holdfast.settings import ServerSettings, read_server_settings, read_token

Document = Mapping[str, Any]
"""A JSON object of the API."""
_API = "/api/v1"
_PAGE = 500
_TIMEOUT = httpx.Timeout(10.0, read=120.0)
_SHOWN = 200
_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    runtime: Runtime
    server: Server


@contextmanager
def connected(*, as_json: bool, server: str | None, token_file: Path | None) -> Generator[Remote]:
    """Around the body of every command that asks the service. Raises NotLoggedIn."""
    with command(as_json=as_json) as runtime:
        settings = read_server_settings()
        with _open(settings, server, token_file or settings.token_file) as opened:
            yield Remote(runtime=runtime, server=opened)


class Server:
    """Thread-compatible: one thread at a time. A context manager."""

    def __init__(self, url: str, *, token: str | None = None, ca_file: str = "") -> None:
        """Raises InvalidInput for an address that is none, or that would send the token where
        others can read it."""
        self.url = server_url(url)
        headers = {"Authorization": f"Bearer {token}"} if token else {"Origin": self.url}
        self._client = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=_TIMEOUT,
            verify=_trust(ca_file),
            trust_env=False,
            follow_redirects=False,
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *problem: object) -> None:
        self._client.close()

    def get(self, path: str, **query: str | int | bool | None) -> Document:
        given = {name: value for name, value in query.items() if value is not None}
        return _document(self.ask("GET", path, query=given), self.url)

    def post(self, path: str, body: Document | None = None) -> Document:
        return _document(self.ask("POST", path, body=body or {}), self.url)

    def post_nothing(self, path: str, body: Document | None = None) -> None:
        """For calls that answer without a document."""
        self.ask("POST", path, body=body or {})

    def put(self, path: str, body: Document) -> Document:
        return _document(self.ask("PUT", path, body=body), self.url)

    def delete(self, path: str) -> None:
        self.ask("DELETE", path)

    def every(self, path: str, **query: str | int | bool | None) -> Iterator[Document]:
        """All items of a list, page by page."""
        cursor: str | None = None
        while True:
            page = self.get(path, limit=_PAGE, cursor=cursor, **query)
            yield from cast("Sequence[Document]", page["items"])
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    def ask(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | bool] | None = None,
        body: object | None = None,
    ) -> httpx.Response:
        """Raises ServerUnreachable, NotAHoldfastServer, ServerRefused."""
        try:
            answer = self._client.request(method, _API + path, params=query, json=body)
        except httpx.HTTPError as error:
            raise ServerUnreachable(server=self.url, problem=_cause(error)) from error
        if answer.is_success:
            return answer
        raise _refusal(answer, self.url)


def pick(things: Iterable[Document], name: str, *, kind: str) -> Document:
    """The one thing that has this id or name. Raises InvalidInput."""
    known = list(things)
    found = [thing for thing in known if thing["id"] == name]
    found = found or [thing for thing in known if thing["name"] == name]
    if not found:
        problem = f"there is no {kind} of that name or id"
        names = ", ".join(sorted(str(thing["name"]) for thing in known)[:_NAMED])
        raise InvalidInput(what=name, problem=f"{problem}; there is {names}" if names else problem)
    if len(found) > 1:
        ids = ", ".join(str(thing["id"]) for thing in found)
        raise InvalidInput(what=name, problem=f"several have that name; say which id: {ids}")
    return found[0]


def server_url(text: str) -> str:
    """Scheme, host and port, without a slash. Raises InvalidInput."""
    parts = urlsplit(text if "://" in text else f"https://{text}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    rest = parts.path.rstrip("/") or parts.query or parts.fragment or parts.username
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1 or rest:
        problem = "is not the address of a service, such as https://backup.example.org:8470"
        raise InvalidInput(what=text, problem=problem)
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        problem = "would send the token unencrypted; use https"
        raise InvalidInput(what=text, problem=problem)
    return f"{parts.scheme}://{parts.netloc}"


def _open(settings: ServerSettings, told: str | None, token_file: Path | None) -> Server:
    saved = read_login(settings.login_file)
    url = told or settings.server or (saved.server if saved else "")
    if not url:
        raise NotLoggedIn
    if token_file is not None:
        token = read_token(token_file)
    elif saved is not None and server_url(url) == saved.server:
        token = saved.token
    else:
        raise NotLoggedIn  # never the token of one service to another
    return Server(url, token=token, ca_file=settings.ca_file or (saved.ca_file if saved else ""))


def _trust(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as error:
            problem = f"cannot be read as certificates: {error.strerror or error}"
            raise InvalidInput(what=f"CA file {ca_file}", problem=problem) from error
    return context


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _document(answer: httpx.Response, server: str) -> Document:
    try:
        found: object = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NotAHoldfastServer(server=server, problem="it answers without JSON")
    return cast(Document, found)


def _refusal(answer: httpx.Response, server: str) -> ServerRefused | NotAHoldfastServer:
    try:
        problem = cast("dict[str, Any]", answer.json())
        detail, code = str(problem["detail"]), str(problem["code"])
    except (ValueError, KeyError, TypeError):
        status = f"it answers with status {answer.status_code}"
        return NotAHoldfastServer(server=server, problem=status)
    fields = cast("list[dict[str, Any]]", problem.get("fields") or [])
    words = "; ".join(f"{field.get('field', '')}: {field.get('problem', '')}" for field in fields)
    return ServerRefused(
        detail=f"{detail} ({words})" if words else detail,
        problem_code=code,
        status=answer.status_code,
    )


def _cause(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return "it does not answer in time"
    return (str(error) or type(error).__name__)[:_SHOWN]
