"""Whether a request that a browser sent with a cookie comes from the dashboard itself. SameSite
keeps the cookie from other sites; this also keeps out sister domains and other ports."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from holdfast.api.access.requirement import CrossSiteRequest

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def is_same_origin(
    scheme: str, headers: Mapping[str, str], allowed: Collection[str]
) -> bool | None:
    """None when the request does not say where it comes from."""
    origin = headers.get("origin")
    if origin is not None:
        plain = {"ws": "http", "wss": "https"}.get(scheme, scheme)
        own = f"{plain}://{headers.get('host', '')}"
        return origin.lower() == own.lower() or origin in allowed
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    return None


def require_same_origin(
    scheme: str, headers: Mapping[str, str], allowed: Collection[str], *, must_say: bool
) -> None:
    """`must_say`: a request that says nothing is refused too. Raises CrossSiteRequest."""
    same = is_same_origin(scheme, headers, allowed)
    if same is False or (same is None and must_say):
        raise CrossSiteRequest
