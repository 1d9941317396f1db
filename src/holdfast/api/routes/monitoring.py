"""What is going on: runs, queues, workers, the host; whether everything works; figures for
Prometheus."""

from __future__ import annotations

from fastapi import APIRouter, Response

from holdfast import __version__
from holdfast.api.access import Caller, requires
from holdfast.api.context import Context
from holdfast.api.metrics import CONTENT_TYPE, render_metrics
from holdfast.api.routes.settings import STARTED_AT
from holdfast.api.runs_shown import run_brief
from holdfast.api.schemas.system import HealthDetail, Monitoring, QueueInfo, WorkerInfo
from holdfast.api.service_health import health_checks, status_of, worker_state
from holdfast.catalog import monitoring
from holdfast.catalog.resources import list_workers, occupancy, read_limits
from holdfast.policy.access import Permission

router = APIRouter(tags=["monitoring"])
metrics_router = APIRouter(tags=["monitoring"])
_RUNNING, _PENDING = 200, 100


@router.get("/monitoring", dependencies=[requires(Permission.VIEW)])
def get_monitoring(context: Context, caller: Caller) -> Monitoring:
    """What runs and waits (of VMs that the caller sees), places in limited resources, workers,
    and how busy this host is."""
    now = context.clock.now()
    scope = caller.scope(Permission.VIEW)
    with context.database.reading() as session:
        taken = occupancy(session)
        running = monitoring.running_runs(session, scope, _RUNNING)
        pending, pending_total = monitoring.pending_runs(session, scope, _PENDING)
        queues = monitoring.queues(session, read_limits(session))
        workers = list_workers(session)
    return Monitoring(
        running=[run_brief(run) for run in running],
        pending=[run_brief(run) for run in pending],
        pending_total=pending_total,
        workers=[
            WorkerInfo(
                id=item.id,
                host=item.host,
                pid=item.pid,
                version=item.version,
                slots=item.slots,
                running=taken.get(f"worker:{item.id}", 0),
                started_at=item.started_at,
                heartbeat_at=item.heartbeat_at,
                state=worker_state(item, now),
            )
            for item in workers
        ],
        queues=[QueueInfo(**queue._asdict()) for queue in queues],
        host=context.load.read(),
        uptime_seconds=max(0, int((now - STARTED_AT).total_seconds())),
    )


@router.get("/system/health/detail", dependencies=[requires(Permission.VIEW)])
def get_health_detail(context: Context) -> HealthDetail:
    """What works and what does not, in words."""
    with context.database.reading() as session:
        checks = health_checks(session, context)
    return HealthDetail(status=status_of(checks), version=__version__, checks=checks)


@metrics_router.get(
    "/metrics",
    dependencies=[requires(Permission.VIEW, everywhere=True)],
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def get_metrics(context: Context) -> Response:
    """Figures in the text format of Prometheus; scrape them with a token."""
    return Response(render_metrics(context), media_type=CONTENT_TYPE)
