"""Who asks, and whether they may: sign-in, sessions, tokens, and what every route requires.

A route says what it needs with `requires(...)` or that it is `public()`; the application refuses to
start with a route that says neither.
"""

from holdfast.api.access.requirement import Caller, Principal, public, requires, signed_in

__all__ = ["Caller", "Principal", "public", "requires", "signed_in"]
