"""The session cookie. Over TLS it is `__Host-holdfast`: Secure, for this host and path only. Over
plain HTTP, which is served to the own host only unless told otherwise, browsers accept neither the
prefix nor Secure: there it is `holdfast`. Always HttpOnly and SameSite=Strict."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie

from fastapi import Request, Response

SECURE_NAME, PLAIN_NAME = "__Host-holdfast", "holdfast"


def cookie_name(scheme: str) -> str:
    return SECURE_NAME if scheme in {"https", "wss"} else PLAIN_NAME


def set_session_cookie(request: Request, response: Response, secret: str) -> None:
    """Ends with the browser; the service ends it earlier."""
    secure = request.url.scheme == "https"
    response.set_cookie(
        cookie_name(request.url.scheme),
        secret,
        secure=secure,
        httponly=True,
        samesite="strict",
        path="/",
    )


def clear_session_cookie(request: Request, response: Response) -> None:
    secure = request.url.scheme == "https"
    response.delete_cookie(
        cookie_name(request.url.scheme), path="/", secure=secure, httponly=True, samesite="strict"
    )


def session_secret(scheme: str, headers: Mapping[str, str]) -> str | None:
    """What the browser sent, in the cookie that belongs to the scheme."""
    jar = SimpleCookie()
    try:
        jar.load(headers.get("cookie", ""))
    except CookieError:
        return None
    found = jar.get(cookie_name(scheme))
    return found.value if found is not None and found.value else None
