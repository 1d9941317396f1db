"""Single sign-on through OpenID Connect."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(prefix="/auth/oidc", tags=["auth"])
