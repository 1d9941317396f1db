"""`holdfast serve`: the API, live events and the dashboard in one process, with a worker beside."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from holdfast.cli import options, runtime
from holdfast.cli.screen import Screen


def serve(
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help="Where to listen (default: HOLDFAST_LISTEN, else 127.0.0.1:8470).",
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(help="Certificate chain in PEM (default: HOLDFAST_TLS_CERT).", metavar="FILE"),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(help="Its key in PEM (default: HOLDFAST_TLS_KEY).", metavar="FILE"),
    ] = None,
    insecure_plain_http: Annotated[
        bool,
        typer.Option(
            "--insecure-plain-http", help="Listen beyond this host without TLS all the same."
        ),
    ] = False,
    no_worker: Annotated[
        bool, typer.Option("--no-worker", help="Start no worker: others carry out the runs.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Start the service and stay until it is stopped.

    The first start makes the database, the key that seals stored secrets, and the administrator
    `admin`, whose password is shown once.
    """
    from holdfast.api.app import create_app
    from holdfast.api.first_start import create_first_administrator, open_service
    from holdfast.api.server import bind, parse_listen
    from holdfast.api.server import serve as serve_app
    from holdfast.cli.service_lock import serving
    from holdfast.cli.service_log import configure_log
    from holdfast.cli.worker_process import WorkerProcess
    from holdfast.core.clock import SystemClock
    from holdfast.settings import read_service_settings

    with runtime.command(as_json=json) as running:
        settings = read_service_settings()
        where = parse_listen(
            listen or settings.listen,
            certificate=tls_cert or settings.tls_certificate,
            key=tls_key or settings.tls_key,
            insecure_plain_http=insecure_plain_http or settings.insecure_plain_http,
        )
        configure_log(settings.log_level)
        clock = SystemClock()
        with contextlib.ExitStack() as stack:
            stack.enter_context(serving(settings.state_root))
            bound = stack.enter_context(contextlib.closing(bind(where)))
            context = open_service(settings, clock)
            stack.callback(context.database.close)
            created = create_first_administrator(context.database, context.passwords, clock)
            url = where.url(bound.getsockname()[1])
            app = create_app(context)
            if not no_worker:
                stack.enter_context(WorkerProcess(["--with-parent"]))
            serve_app(
                app,
                where,
                bound,
                trusted_proxies=settings.trusted_proxies,
                on_ready=lambda: _announce(
                    running.screen,
                    url,
                    created.name if created else None,
                    created.password if created else None,
                ),
            )


def _announce(screen: Screen, url: str, name: str | None, password: str | None) -> None:
    document = {"url": url, "administrator": name, "password": password}
    lines = [f"Holdfast is at {url}"]
    if name is not None:
        lines += [
            "",
            f"  Sign in as  {name}",
            f"  Password    {password}",
            "",
            "The password is shown this once. It must be changed at the first sign-in.",
        ]
    screen.result(document, "\n".join(lines))
    screen.flush()
