"""`holdfast worker`: carries out runs."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Annotated

import typer


def worker(
    slots: Annotated[
        int, typer.Option("--slots", min=1, max=64, help="Runs at once.", metavar="N")
    ] = 4,
    name: Annotated[
        str, typer.Option("--name", help="Another one for each worker of a host.", metavar="NAME")
    ] = "worker",
    restore_folder: Annotated[
        Path | None,
        typer.Option(
            "--restore-folder",
            help="Where disks of restored VMs are made (default: libvirt's own).",
            metavar="FOLDER",
        ),
    ] = None,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="Stop when the program that started it is gone.")
    ] = False,
) -> None:
    """Carry out runs until it is stopped; then what was running goes back to the queue.

    The service starts one beside itself. More of them, on this or other hosts that reach the same
    PostgreSQL database, share the work.
    """
    from holdfast.catalog.database import Database
    from holdfast.catalog.migrations import upgrade
    from holdfast.catalog.sealing import Sealing
    from holdfast.cli.service_lock import serving
    from holdfast.cli.service_log import configure_log
    from holdfast.core.clock import SystemClock
    from holdfast.core.parent_death import end_with_parent
    from holdfast.jobs.notifications import Notifications
    from holdfast.jobs.orders import MoverSettings
    from holdfast.jobs.recording import Recorder
    from holdfast.jobs.secrets import SealedSecrets
    from holdfast.jobs.worker import Worker, WorkerSettings
    from holdfast.settings import read_service_settings, read_settings

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: stop.set())
    if with_parent:
        end_with_parent(signal.SIGTERM)
    settings, clock = read_service_settings(), SystemClock()
    configure_log(settings.log_level)
    with serving(settings.state_root):
        database = Database.open(settings.database_url)
        upgrade(database)
        with database.writing() as session:
            sealing = Sealing.open_or_create(settings.sealing_key_file, session, clock)
        mover = MoverSettings(
            scratch_root=read_settings().scratch_root,
            cache_root=settings.cache_root,
            restore_root=restore_folder,
        )
        secrets = SealedSecrets(sealing)
        Worker(
            database,
            secrets,
            WorkerSettings(state_root=settings.state_root, mover=mover, name=name, slots=slots),
            clock=clock,
            on_finished=[
                Recorder(database, secrets, clock, cache_root=settings.cache_root),
                Notifications(database, sealing, clock),
            ],
        ).run(stop)
        database.close()
