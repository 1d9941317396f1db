"""`holdfast repository immutable`, `lock`, `info`, `unhide`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from holdfast.cli import opening
from holdfast.cli.options import Json, PassphraseFile
from holdfast.cli.runtime import command
from holdfast.cli.screen import ProgressBar
from holdfast.core.clock import format_time
from holdfast.core.errors import HoldfastError, InvalidInput
from holdfast.repository import Repository
from holdfast.repository.canary import (
    described,
    last_verdict,
    require_locks,
    test_immutability,
)
from holdfast.repository.errors import ObjectsHidden
from holdfast.repository.format.immutability import MAX_DAYS, MODES, Immutability, Verdict
from holdfast.repository.hidden import require_nothing_hidden, unhide
from holdfast.repository.lock import LockReport, run_lock

Location = Annotated[str, typer.Argument(help="The repository.", metavar="PATH_OR_URL")]
ImmutableMode = Annotated[
    str,
    typer.Option(
        "--immutable-mode",
        help="S3: `compliance` binds everybody, `governance` all but who may bypass it.",
        metavar="MODE",
    ),
]


def rule_of(days: int, mode: str) -> Immutability:
    if mode not in MODES:
        raise InvalidInput(what="--immutable-mode", problem=f"it is one of {', '.join(MODES)}")
    return Immutability(days=days, mode=mode)


def immutable(
    repository: Location,
    days: Annotated[
        int,
        typer.Option(
            "--days", min=0, max=MAX_DAYS, help="For so long; 0 locks nothing new.", metavar="N"
        ),
    ],
    mode: ImmutableMode = MODES[0],
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Make a repository immutable, or change for how long. Locks that are set are never shortened.

    What is in the repository already is locked too.
    """
    with command(as_json=json) as runtime:
        rule_of(days, mode)
        opened = opening.open_repository(
            repository, passphrase_file, runtime.settings, cached=False
        )
        if days:
            require_locks(opened, mode)
        with ProgressBar(runtime.screen) as progress:
            rule = opened.locks.change(days=days, mode=mode)
            report = run_lock(opened, cancel=runtime.cancel, progress=progress)
        verdict = test_immutability(opened) if days else None
        document = {"immutability": rule_document(rule, verdict), "lock": _report_document(report)}
        lines = [described(rule, verdict)]
        lines += _report_lines(report) if days else []
        runtime.screen.result(document, "\n".join(lines))


def lock(
    repository: Location,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what is not locked as it should be.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Renew the locks of everything that restore points need. Run it every day.

    Exits 3 when something that should be locked is missing, or hidden by somebody else.
    """
    with command(as_json=json) as runtime:
        opened = opening.open_repository(
            repository, passphrase_file, runtime.settings, cached=False
        )
        with ProgressBar(runtime.screen) as progress:
            report = run_lock(opened, cancel=runtime.cancel, progress=progress, dry_run=dry_run)
        document = {**_report_document(report), "dry_run": dry_run}
        if opened.locks.rule is None:
            text = "The repository is not immutable: nothing was locked."
        else:
            text = "\n".join(_report_lines(report, dry_run=dry_run))
        runtime.screen.result(document, text)
    if report.missing or report.hidden:
        raise typer.Exit(3)


def info(repository: Location, passphrase_file: PassphraseFile = None, json: Json = False) -> None:
    """What the repository is, and whether it may call itself immutable."""
    with command(as_json=json) as runtime:
        opened = opening.open_repository(repository, passphrase_file, runtime.settings)
        points = opened.point_ids()
        rule, verdict = opened.locks.rule, last_verdict(opened)
        document = {
            "repository_id": opened.id,
            "location": opened.location,
            "created_at": opened.config.created_at,
            "chunk_bytes": opened.chunk_bytes,
            "points": len(points),
            "immutability": rule_document(rule, verdict),
        }
        text = (
            f"Repository {opened.id} in {opened.location}, created {opened.config.created_at}.\n"
            f"{len(points)} restore points.\n{described(rule, verdict)}"
        )
        runtime.screen.result(document, text)


def unhide_objects(repository: Location, json: Json = False) -> None:
    """Bring back locked objects that somebody deleted or overwrote in a bucket.

    Needs the bucket's credentials and no passphrase. Run `holdfast check` afterwards.
    """
    with command(as_json=json) as runtime:
        report = unhide(opening.existing_store(repository, runtime.settings))
        document = {"restored": report.restored, "lost": report.lost}
        lines = [f"Brought back {len(report.restored)} objects."]
        lines += [f"{key} has several versions and none was locked." for key in report.lost]
        runtime.screen.result(document, "\n".join(lines))


def tested(opened: Repository) -> tuple[dict[str, Any] | None, str, bool]:
    """For `check`: the canary again, and whether somebody hid objects. The document, the words, and
    whether nothing is hidden. No document and no words when there is no rule.

    A repository that this process may only read is no less sound for that: then the words say why
    it may not call itself immutable.
    """
    try:
        require_nothing_hidden(opened)
        if opened.locks.rule is None:
            return None, "", True
        verdict = test_immutability(opened)
    except HoldfastError as error:
        document = {**rule_document(None, None), "why_not": [error.message]}
        words = f"Not known to be immutable: {error.message}."
        return document, words, not isinstance(error, ObjectsHidden)
    rule = opened.locks.rule
    return rule_document(rule, verdict), described(rule, verdict), True


def rule_document(rule: Immutability | None, verdict: Verdict | None) -> dict[str, Any]:
    return {
        "days": rule.days if rule else 0,
        "mode": rule.mode if rule and rule.days else None,
        "immutable": bool(rule and rule.days and verdict and verdict.is_immutable),
        "why_not": list(verdict.reasons) if verdict else [],
        "tested_at": format_time(verdict.tested_at) if verdict else None,
    }


def _report_document(report: LockReport) -> dict[str, Any]:
    return {
        "objects": report.objects,
        "short": list(report.short),
        "unlocked": list(report.unlocked),
        "missing": list(report.missing),
        "hidden": list(report.hidden),
        "until": format_time(report.until) if report.until else None,
    }


def _report_lines(report: LockReport, *, dry_run: bool = False) -> list[str]:
    would = "would be" if dry_run else "were"
    lines = [
        f"{report.objects} objects are to be locked; {len(report.short)} locks {would} renewed."
    ]
    if report.unlocked:
        lines.append(f"{len(report.unlocked)} of them were not locked at all.")
    if report.until:
        lines.append(f"What restore points need is locked until {report.until:%Y-%m-%d} at least.")
    lines += [f"{key} is missing." for key in report.missing]
    if report.hidden:
        lines.append(
            f"{len(report.hidden)} objects were deleted or overwritten by somebody else; they are "
            "still there: `holdfast repository unhide` brings them back."
        )
    return lines
