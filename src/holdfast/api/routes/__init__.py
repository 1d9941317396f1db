"""One module by noun, each with a `router` that has its own tag. The factory includes all of these
under /api/v1 and refuses a route that says neither what it requires nor that it is public."""

from __future__ import annotations

from fastapi import APIRouter

from holdfast.api.routes import audit, auth, oidc, roles, system_public, tokens, users

ROUTERS: tuple[APIRouter, ...] = (
    auth.router,
    oidc.router,
    users.router,
    roles.router,
    tokens.router,
    audit.router,
    system_public.router,
)
