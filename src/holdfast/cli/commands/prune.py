"""`holdfast prune`, `holdfast hold`, `holdfast release`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

import typer

from holdfast.cli import opening
from holdfast.cli.documents import point_document
from holdfast.cli.options import Json, PassphraseFile, RepositoryPath
from holdfast.cli.runtime import command
from holdfast.cli.screen import ProgressBar, table
from holdfast.core.clock import format_time
from holdfast.core.errors import InvalidInput
from holdfast.core.time_zones import time_zone_of
from holdfast.core.units import format_bytes
from holdfast.policy import RetentionRules
from holdfast.repository import check_tag
from holdfast.repository.prune import (
    DEFAULT_MAXIMUM_DELETE,
    PrunePlan,
    PruneReport,
    PruneScope,
    plan_prune,
    run_prune,
)

Points = Annotated[
    list[str],
    typer.Argument(help="Restore points: ids, unique beginnings of them, or `latest`."),
]
_SPAN = re.compile(r"(\d{1,6})([hdwy])")
_HOURS = {"h": 1, "d": 24, "w": 7 * 24, "y": 366 * 24}


def _keep(option: str, what: str) -> Any:
    return typer.Option(option, min=0, help=f"Keep {what}.", metavar="N")


def prune(
    repository: RepositoryPath,
    name: Annotated[str | None, typer.Option("--name", help="Only this VM.", metavar="VM")] = None,
    keep_last: Annotated[int, _keep("--keep-last", "the newest N points")] = 0,
    keep_hourly: Annotated[int, _keep("--keep-hourly", "the newest of each of N hours")] = 0,
    keep_daily: Annotated[int, _keep("--keep-daily", "the newest of each of N days")] = 0,
    keep_weekly: Annotated[int, _keep("--keep-weekly", "the newest of each of N weeks")] = 0,
    keep_monthly: Annotated[int, _keep("--keep-monthly", "the newest of each of N months")] = 0,
    keep_yearly: Annotated[int, _keep("--keep-yearly", "the newest of each of N years")] = 0,
    keep_within: Annotated[
        str | None,
        typer.Option(
            "--keep-within",
            help="Keep all within this time of the VM's newest, such as 30d or 1d12h.",
            metavar="TIME",
        ),
    ] = None,
    keep_tag: Annotated[
        list[str] | None,
        typer.Option("--keep-tag", help="Keep points with this tag; may be repeated."),
    ] = None,
    min_age: Annotated[
        str,
        typer.Option("--min-age", help="Delete nothing stored more recently.", metavar="TIME"),
    ] = "1d",
    time_zone: Annotated[
        str, typer.Option("--time-zone", help="Where days begin, such as Europe/Berlin.")
    ] = "UTC",
    trust_times: Annotated[
        bool,
        typer.Option(
            "--trust-times",
            help="Believe points stored long after their time, as in a copied repository.",
        ),
    ] = False,
    max_delete: Annotated[
        int,
        typer.Option("--max-delete", min=0, help="Stop when more points would go.", metavar="N"),
    ] = DEFAULT_MAXIMUM_DELETE,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would go and why; change nothing.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Delete restore points by rule. A point lives when any rule keeps it.

    The newest good point of a VM, held points, and points of implausible times always live.
    `holdfast compact` reclaims the space.
    """
    with command(as_json=json) as runtime:
        rules = RetentionRules(
            keep_last=keep_last,
            keep_hourly=keep_hourly,
            keep_daily=keep_daily,
            keep_weekly=keep_weekly,
            keep_monthly=keep_monthly,
            keep_yearly=keep_yearly,
            keep_within=None if keep_within is None else _span("--keep-within", keep_within),
            keep_tags=tuple(check_tag(tag) for tag in keep_tag or []),
            minimum_age=_span("--min-age", min_age),
            trust_old_times=trust_times,
        )
        if rules.is_empty:
            problem = "no rule given: say what to keep, as in --keep-last 7 --keep-monthly 12"
            raise InvalidInput(what="prune", problem=problem)
        scope = PruneScope(
            rules=rules, time_zone=time_zone_of(time_zone, what="--time-zone"), vm_name=name
        )
        opened = opening.open_repository(repository, passphrase_file, runtime.settings)
        with ProgressBar(runtime.screen) as progress:
            plan = plan_prune(opened, scope, cancel=runtime.cancel, progress=progress)
            report = PruneReport()
            if not dry_run:
                report = run_prune(
                    opened,
                    plan,
                    maximum_delete=max_delete,
                    cancel=runtime.cancel,
                    progress=progress,
                )
        text = _text(plan, None if dry_run else report)
        if dry_run and len(plan.going) > max_delete:
            text += f"\nTo delete that many, allow it with --max-delete {len(plan.going)}."
        runtime.screen.result(_document(plan, report, dry_run=dry_run), text)


def hold(
    points: Points,
    repository: RepositoryPath,
    reason: Annotated[str, typer.Option("--reason", help="Why, for whoever wants to delete it.")],
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Keep restore points from being deleted, by rule or by hand, until they are released."""
    with command(as_json=json) as runtime:
        if not reason.strip():
            raise InvalidInput(what="--reason", problem="it must not be empty")
        opened = opening.open_repository(repository, passphrase_file, runtime.settings)
        ids = [opened.point(point).id for point in points]
        opened.hold(ids, reason)
        document = {"held": ids, "reason": reason}
        runtime.screen.result(document, "\n".join(f"Held restore point {name}." for name in ids))


def release(
    points: Points,
    repository: RepositoryPath,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """End the holds on restore points."""
    with command(as_json=json) as runtime:
        opened = opening.open_repository(repository, passphrase_file, runtime.settings)
        ids = [opened.point(point).id for point in points]
        released = opened.release(ids, reason)
        lines = [
            f"Released restore point {name}."
            if name in released
            else f"Restore point {name} was not held."
            for name in ids
        ]
        runtime.screen.result({"released": released}, "\n".join(lines))


def _span(option: str, text: str) -> timedelta:
    """`36h`, `30d`, `8w`, `1y` (of 366 days), or several of them as in `1d12h`."""
    parts = _SPAN.findall(text)
    if not parts or "".join(map("".join, parts)) != text:
        problem = f"{text!r} is not a time: write it as 36h, 30d, 8w, 1y or 1d12h"
        raise InvalidInput(what=option, problem=problem)
    return timedelta(hours=sum(int(count) * _HOURS[unit] for count, unit in parts))


def _document(plan: PrunePlan, report: PruneReport, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "points": [
            {
                **point_document(planned.point),
                "keep": planned.decision.keep,
                "reasons": list(planned.decision.reasons),
                "immutable_until": planned.locked_until and format_time(planned.locked_until),
            }
            for planned in plan.points
        ],
        "planned": [planned.point.id for planned in plan.going],
        "planned_bytes": plan.freed_bytes,
        "deleted": list(report.deleted),
        "spared": dict(report.spared),
    }


def _text(plan: PrunePlan, report: PruneReport | None) -> str:
    """The table of the plan and, unless it was a dry run, what was done."""
    if not plan.points:
        return "There are no restore points."
    head = ("", "POINT", "VM", "TAKEN", "STORED", "WHY")
    rows = [
        (
            "keep" if planned.decision.keep else "DELETE",
            planned.point.id,
            planned.point.manifest.vm.name,
            f"{planned.point.manifest.captured_at.astimezone(plan.scope.time_zone):%Y-%m-%d %H:%M}",
            format_bytes(planned.point.manifest.stored_bytes),
            "; ".join(planned.decision.reasons),
        )
        for planned in plan.points
    ]
    lines = [table(head, rows, right=(4,)), ""]
    all_points, going, freed = len(plan.points), len(plan.going), format_bytes(plan.freed_bytes)
    if report is None:
        lines.append(f"{going} of {all_points} points would go, and with them about {freed}.")
    else:
        lines.append(f"Deleted {len(report.deleted)} of {all_points} points.")
        if report.deleted:
            lines.append(f"About {freed} can be reclaimed: run `holdfast compact`.")
        lines.extend(f"Kept {point} after all: {why}" for point, why in report.spared.items())
    return "\n".join(lines)
