"""`python -m tests.load`: measure, print, and say whether the bar was met."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from holdfast.core.units import MIB
from tests.load.scene import BACKUPS, Found, Load, percentile, put_under_load

BAR_MS = 100.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queued", type=int, default=1000, help="runs in the queue")
    parser.add_argument("--clients", type=int, default=200, help="of the live events")
    parser.add_argument("--seconds", type=float, default=15.0, help="of requests")
    parser.add_argument("--disk-mib", type=int, default=1536, help="of each of four VMs")
    parser.add_argument("--work", type=Path, default=None, help="folder for all of it")
    options = parser.parse_args()
    load = Load(
        queued=options.queued,
        clients=options.clients,
        seconds=options.seconds,
        disk_bytes=options.disk_mib * MIB,
    )
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="holdfast-load-", dir=options.work) as folder:
        found = put_under_load(Path(folder), load)
    print(f"{os.cpu_count()} cores, load {before:.1f} before; {load.clients} clients")
    return _report(found, load)


def _report(found: Found, load: Load) -> int:
    rows = {
        "queue a run": found.queueing_ms,
        **found.requests_ms,
        "all requests": found.all_ms,
        "events": found.events_ms,
    }
    print(f"{'':24}{'count':>8}{'median':>10}{'p95':>10}{'p99':>10}{'most':>10}   ms")
    for name, values in rows.items():
        shown = [percentile(values, 50), percentile(values, 95), percentile(values, 99)]
        figures = "".join(f"{value:>10.1f}" for value in (*shown, max(values)))
        print(f"{name:24}{len(values):>8}{figures}")
    cores_s = load.seconds * (os.cpu_count() or 1)
    shares = {name: 100 * spent / cores_s for name, spent in found.cpu_s.items()}
    print("of the cores:", ", ".join(f"{name} {share:.0f} %" for name, share in shares.items()))
    print(f"{found.running} backups ran throughout, {found.pending} runs waited at the end")
    if found.running < BACKUPS or found.deaf:
        print(f"not measured: the backups ended too soon, or {found.deaf} clients heard nothing")
        return 2
    met = percentile(found.all_ms, 99) < BAR_MS
    print(f"p99 of requests below {BAR_MS:.0f} ms: {'yes' if met else 'no'}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
