"""A run followed from a terminal until it ends."""

from __future__ import annotations

from holdfast.cli.remote.errors import NoLongerWatched, RunEnded, ServerUnreachable
from holdfast.cli.remote.server import Document, Remote
from holdfast.cli.screen import ProgressBar
from holdfast.core.clock import SystemClock
from holdfast.core.progress import Progress

_ENDED = {"completed", "failed", "cancelled"}
_EVERY_S = 0.5
_UNREACHABLE_S = 120.0
"""So long a service may be away, as while it is updated; its runs go on."""


def follow(remote: Remote, run_id: str) -> Document:
    """The run as it ended well. Raises RunEnded when it failed or was cancelled, and
    NoLongerWatched on Ctrl-C, which leaves the run alone."""
    clock = SystemClock()
    heard_s = clock.monotonic_s()
    with ProgressBar(remote.runtime.screen) as bar:
        while True:
            if remote.runtime.cancel.is_cancelled:
                raise NoLongerWatched(run=run_id)
            try:
                run = remote.server.get(f"/runs/{run_id}")
                heard_s = clock.monotonic_s()
            except ServerUnreachable:
                if clock.monotonic_s() - heard_s > _UNREACHABLE_S:
                    raise
                remote.runtime.cancel.wait(_EVERY_S)
                continue
            bar.update(
                Progress(
                    phase=str(run["phase"] or run["state"]),
                    done_bytes=int(run["bytes_done"]),
                    total_bytes=int(run["bytes_total"]),
                )
            )
            if run["state"] in _ENDED:
                break
            remote.runtime.cancel.wait(_EVERY_S)
    if run["state"] == "completed":
        return run
    raise RunEnded(
        run=run_id,
        state="was cancelled" if run["state"] == "cancelled" else "failed",
        problem=str(run["error_message"] or "no reason given"),
        next_step=str(run["error_hint"] or f"See `holdfast job show {run_id}`"),
    )
