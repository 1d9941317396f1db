"""Figures for Prometheus, read from the catalogue when they are asked for: every process of the
service says the same of what they share. Enter at `render_metrics`."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session

from holdfast import __version__
from holdfast.api.context import ServiceContext
from holdfast.api.runtime_settings import runtime_settings
from holdfast.catalog import inventory, monitoring, repositories
from holdfast.catalog.resources import list_workers, occupancy, read_limits
from holdfast.policy.access import VmScope
from holdfast.policy.run_states import FINAL_STATES

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_ALL = VmScope(all_vms=True)
_FINAL = {state.value for state in FINAL_STATES}


def render_metrics(context: ServiceContext) -> bytes:
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(namespace="holdfast", registry=registry)
    registry.register(_Catalogue(context))
    return generate_latest(registry)


class _Catalogue(Collector):
    def __init__(self, context: ServiceContext) -> None:
        self._context = context

    def collect(self) -> Iterator[Metric]:
        yield _gauge("holdfast_info", "Version of the service.", ["version"], [((__version__,), 1)])
        clients = self._context.events.connection_count
        yield _gauge("holdfast_event_clients", "Browsers with live events.", [], [((), clients)])
        with self._context.database.reading() as session:
            yield from self._runs(session)
            yield from self._queues(session)
            yield from self._workers(session)
            yield from self._repositories(session)
            yield self._vms(session)
            mounts = monitoring.count_mounts(session)
        yield _gauge("holdfast_mounts", "Restore points open for browsing.", [], [((), mounts)])

    def _runs(self, session: Session) -> Iterator[Metric]:
        counts = monitoring.count_runs(session)
        ended = CounterMetricFamily(
            "holdfast_runs_ended", "Runs by how they ended.", labels=["kind", "state"]
        )
        active = GaugeMetricFamily(
            "holdfast_runs", "Runs that wait or run.", labels=["kind", "state"]
        )
        for (kind, state), count in sorted(counts.items()):
            (ended if state in _FINAL else active).add_metric([kind, state], count)
        yield ended
        yield active
        bps = monitoring.throughput_bps(session)
        yield _gauge(
            "holdfast_throughput_bytes_per_second", "Of all running runs.", [], [((), bps)]
        )

    def _queues(self, session: Session) -> Iterator[Metric]:
        rows = monitoring.queues(session, read_limits(session))
        labels = ["resource", "name"]
        yield _gauge(
            "holdfast_queue_limit",
            "Runs at once on a platform or repository.",
            labels,
            [((row.resource, row.name), row.limit) for row in rows],
        )
        yield _gauge(
            "holdfast_queue_running",
            "Places that are taken.",
            labels,
            [((row.resource, row.name), row.running) for row in rows],
        )
        yield _gauge(
            "holdfast_queue_waiting",
            "Runs that wait for a place.",
            labels,
            [((row.resource, row.name), row.waiting) for row in rows],
        )

    def _workers(self, session: Session) -> Iterator[Metric]:
        now, taken = self._context.clock.now(), occupancy(session)
        rows = list_workers(session)
        yield _gauge(
            "holdfast_worker_slots",
            "Runs at once of a worker.",
            ["worker"],
            [((row.id,), row.slots) for row in rows],
        )
        yield _gauge(
            "holdfast_worker_running",
            "Runs that a worker carries out.",
            ["worker"],
            [((row.id,), taken.get(f"worker:{row.id}", 0)) for row in rows],
        )
        yield _gauge(
            "holdfast_worker_heartbeat_age_seconds",
            "Since its last sign of life.",
            ["worker"],
            [((row.id,), max(0.0, (now - row.heartbeat_at).total_seconds())) for row in rows],
        )

    def _repositories(self, session: Session) -> Iterator[Metric]:
        labels = ["repository", "name"]
        rows = repositories.list_repositories(session)
        yield _gauge(
            "holdfast_repository_up",
            "1 when it was reached the last time.",
            labels,
            [((row.id, row.name), int(row.state != "offline")) for row in rows],
        )
        for name, words in (
            ("used_bytes", "Stored in it."),
            ("logical_bytes", "Sizes of the disks of all its points."),
            ("total_bytes", "Size of the file system it is on."),
            ("available_bytes", "Free on the file system it is on."),
            ("backup_count", "Restore points in it."),
        ):
            known = [(row, getattr(row, name)) for row in rows]
            yield _gauge(
                f"holdfast_repository_{name}",
                words,
                labels,
                [((row.id, row.name), value) for row, value in known if value is not None],
            )

    def _vms(self, session: Session) -> Metric:
        stale = runtime_settings(session).stale_before(self._context.clock.now())
        counts = inventory.count_protection(session, _ALL, stale)
        return _gauge(
            "holdfast_vms",
            "VMs by how they are protected.",
            ["protection"],
            [((state,), count) for state, count in sorted(counts.items())],
        )


def _gauge(
    name: str, words: str, labels: list[str], values: list[tuple[tuple[str, ...], float]]
) -> Metric:
    family = GaugeMetricFamily(name, words, labels=labels)
    for label, value in values:
        family.add_metric(label, value)
    return family
