"""One module by noun, each with a `router` that has its own tag. The factory includes all of these
under /api/v1 and refuses a route that says neither what it requires nor that it is public."""

from __future__ import annotations

from fastapi import APIRouter

from holdfast.api.routes import (
    audit,
    auth,
    backup_runs,
    backups,
    files,
    groups,
    logs,
    maintenance,
    monitoring,
    notifications,
    oidc,
    overview,
    platforms,
    repositories,
    repository_keys,
    restore_downloads,
    restore_runs,
    restores,
    roles,
    runs,
    settings,
    system_public,
    tokens,
    users,
    vms,
)

ROUTERS: tuple[APIRouter, ...] = (
    auth.router,
    oidc.router,
    users.router,
    roles.router,
    tokens.router,
    audit.router,
    system_public.router,
    overview.router,
    monitoring.router,
    notifications.router,
    platforms.router,
    vms.router,
    groups.router,
    repositories.router,
    repository_keys.router,
    maintenance.router,
    backup_runs.router,
    backups.router,
    restore_runs.router,
    restores.router,
    restore_downloads.router,
    files.router,
    runs.router,
    logs.router,
    settings.router,
)

AT_THE_ROOT: tuple[APIRouter, ...] = (monitoring.metrics_router,)
"""Where those who call them look for them, not under /api/v1."""
