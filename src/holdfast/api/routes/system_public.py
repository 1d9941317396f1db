"""What anyone may know: whether the service works."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import text

from holdfast.api.access import public
from holdfast.api.context import Context
from holdfast.api.schemas.system import Health

router = APIRouter(prefix="/system", tags=["system"])


@router.get("/health", dependencies=[public()])
def get_health(context: Context) -> Health:
    """For load balancers and supervisors: 200 when requests can be answered, 503 when the database
    is away."""
    with context.database.reading() as session:
        session.execute(text("SELECT 1"))
    return Health(status="ok")
