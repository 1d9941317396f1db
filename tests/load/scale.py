"""`python -m tests.load.scale`: a service with a large catalogue, a backup with a large folder, how
long the API takes for their lists, and the dashboard in Chromium. Prints tables with the bars;
fails when one is missed."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.load.browser import watch_browser, watch_folder
from tests.load.catalogue import Size
from tests.load.folder import look_into_folder, open_folder
from tests.load.large import open_scale
from tests.load.lists import ask_everything
from tests.load.scene import percentile
from tests.load.seen import Seen

LIST_BAR_MS = 100.0
_TIMES = 15
_TIMES_IN_BROWSER = 3


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vms", type=int, default=5000)
    parser.add_argument("--backups", type=int, default=100_000)
    parser.add_argument("--entries", type=int, default=100_000, help="of a folder")
    parser.add_argument("--times", type=int, default=_TIMES, help="each list is asked for")
    parser.add_argument("--no-browser", action="store_true", help="the API only")
    parser.add_argument("--work", type=Path, default=None, help="folder for all of it")
    options = parser.parse_args()
    size = Size(vms=options.vms, backups=options.backups)
    missed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="holdfast-scale-", dir=options.work) as folder:
        missed += _large_catalogue(Path(folder) / "catalogue", size, options)
    with tempfile.TemporaryDirectory(prefix="holdfast-folder-", dir=options.work) as folder:
        missed += _large_folder(Path(folder), options)
    print(f"missed: {', '.join(missed)}" if missed else "every bar is met")
    return 1 if missed else 0


def _large_catalogue(folder: Path, size: Size, options: argparse.Namespace) -> list[str]:
    folder.mkdir()
    begun_s = time.monotonic()
    with open_scale(folder, size) as scale:
        print(
            f"{size.vms} VMs, {size.backups} backups, made in {time.monotonic() - begun_s:.0f} s; "
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
        )
        missed = _report_lists(ask_everything(scale.lab.http, options.times))
        if not options.no_browser:
            missed += _report(watch_browser(scale, _TIMES_IN_BROWSER))
    return missed


def _large_folder(folder: Path, options: argparse.Namespace) -> list[str]:
    if not options.entries or os.geteuid() != 0:
        print("no large folder: that needs root")
        return []
    with open_folder(folder, options.entries) as opened:
        missed = _report(look_into_folder(opened))
        if not options.no_browser:
            missed += _report(watch_folder(opened, _TIMES_IN_BROWSER))
    return missed


def _report_lists(lists: Mapping[str, list[float]]) -> list[str]:
    print(f"{'':34}{'median':>9}{'p95':>9}{'bar':>9}   ms")
    missed: list[str] = []
    for what, values in lists.items():
        p95 = percentile(values, 95)
        if p95 >= LIST_BAR_MS:
            missed.append(what)
        mark = "" if p95 < LIST_BAR_MS else "   missed"
        median = percentile(values, 50)
        print(f"{what:34}{median:>9.1f}{p95:>9.1f}{LIST_BAR_MS:>9.0f}{mark}")
    return missed


def _report(seen: Iterable[Seen]) -> list[str]:
    print(f"{'':34}{'median':>9}{'most':>9}{'bar':>9}   ms")
    missed: list[str] = []
    for one in seen:
        mark = "" if one.median_ms < one.bar_ms else "   missed"
        if mark:
            missed.append(one.what)
        figures = f"{one.median_ms:>9.1f}{max(one.values_ms):>9.1f}{one.bar_ms:>9.0f}"
        print(f"{one.what:34}{figures}{mark}", flush=True)
    return missed


if __name__ == "__main__":
    sys.exit(main())
