"""`holdfast verify`, `holdfast repair`."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.cli import opening
from holdfast.cli.documents import loss_document, loss_lines
from holdfast.cli.options import Json, PassphraseFile, RepositoryPath
from holdfast.cli.runtime import command
from holdfast.cli.screen import ProgressBar, throughput
from holdfast.core.clock import SystemClock
from holdfast.core.units import format_bytes, format_duration
from holdfast.repository.repair import RepairReport, repair_repository
from holdfast.repository.verify import VerifyOptions, VerifyReport, verify_repository

EXIT_INTEGRITY = 3


def verify(
    repository: RepositoryPath,
    sample: Annotated[
        float,
        typer.Option(
            "--sample-percent", min=0, max=100, help="Read this share of the packs, at random."
        ),
    ] = 100,
    not_verified_for: Annotated[
        float | None,
        typer.Option(
            "--not-verified-for",
            min=0,
            metavar="DAYS",
            help="Read only packs that no run has found sound for so long.",
        ),
    ] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Read every stored byte again and prove it. Exits 3 when something is damaged.

    Damaged packs are recorded: the next backup stores their data again. A run that was stopped
    goes on where it was with --not-verified-for 1.
    """
    with command(as_json=json) as runtime:
        opened = opening.open_repository(
            repository, passphrase_file, runtime.settings, cached=False
        )
        options = VerifyOptions(
            share=sample / 100,
            not_since=None if not_verified_for is None else timedelta(days=not_verified_for),
        )
        clock = SystemClock()
        started_s = clock.monotonic_s()
        with ProgressBar(runtime.screen) as progress:
            report = verify_repository(opened, options, cancel=runtime.cancel, progress=progress)
        duration_s = clock.monotonic_s() - started_s
        document = {**_verify_document(report), "duration_s": round(duration_s, 3)}
        runtime.screen.result(document, _verify_text(report, duration_s))
    if not report.is_sound:
        raise typer.Exit(EXIT_INTEGRITY)


def repair(
    repository: RepositoryPath,
    source: Annotated[
        str | None,
        typer.Option("--from", help="Take what is lost here from this repository.", metavar="PATH"),
    ] = None,
    source_passphrase_file: Annotated[
        Path | None,
        typer.Option("--from-passphrase-file", help="Its passphrase.", metavar="FILE"),
    ] = None,
    without_proof: Annotated[
        bool,
        typer.Option(
            "--without-proof",
            help="Put config and sentinel again also where nothing proves that they were so: all "
            "of the storage is mounted, and no newer Holdfast wrote to it.",
        ),
    ] = False,
    kit: Annotated[
        Path | None,
        typer.Option("--kit", help="The recovery kit, as it was saved.", metavar="FILE"),
    ] = None,
    passphrase_file: PassphraseFile = None,
    json: Json = False,
) -> None:
    """Move what can be saved out of damaged packs; with --from, fetch the rest from a copy.

    A config or sentinel without which nobody can open the repository, and manifests of points, are
    put right where it is proven what they were. What was damaged is kept below damaged/.

    Nothing is ever dropped. What stays lost is listed byte by byte, and the exit status is 3.
    """
    with command(as_json=json) as runtime:
        other = None
        if source is not None:
            other = opening.open_repository(source, source_passphrase_file, runtime.settings)
        opened, mended = opening.open_for_repair(
            repository, kit, passphrase_file, runtime.settings, without_proof=without_proof
        )
        for item in mended:  # also when what follows fails
            runtime.screen.message(f"{item.key}: {item.problem}; it was put right.")
        with ProgressBar(runtime.screen) as progress:
            report = repair_repository(opened, other, cancel=runtime.cancel, progress=progress)
        report.mended = [*mended, *report.mended]
        runtime.screen.result(_repair_document(report), _repair_text(report))
    if not report.is_whole:
        raise typer.Exit(EXIT_INTEGRITY)


def _verify_document(report: VerifyReport) -> dict[str, Any]:
    return {
        "sound": report.is_sound,
        "packs": report.packs,
        "skipped_packs": report.skipped_packs,
        "read_bytes": report.read_bytes,
        "damaged_packs": [
            {"object": item.key, "problem": item.problem} for item in report.bad_packs
        ],
        "affected_points": [loss_document(loss) for loss in report.losses],
    }


def _verify_text(report: VerifyReport, duration_s: float) -> str:
    rate = throughput(report.read_bytes, duration_s)
    read = (
        f"{report.packs} packs ({format_bytes(report.read_bytes)}) read in "
        f"{format_duration(duration_s)}{f' ({rate})' if rate else ''}, "
        f"{report.skipped_packs} skipped"
    )
    if report.is_sound:
        return f"No problem found: {read}."
    lines = [f"Damage found: {read}."]
    lines += [f"  {item.key}: {item.problem}" for item in report.bad_packs]
    lines += loss_lines(report.losses)
    if report.losses:
        advice = (
            "The next backup stores again what its source still has; `holdfast repair` saves what "
            "can be read, and with --from fetches the rest from a copy."
        )
    else:
        advice = (
            "No restore point needs what is damaged, or all of it is held elsewhere too: "
            "`holdfast repair`, then `holdfast compact`, take it away."
        )
    lines.append(advice)
    return "\n".join(lines)


def _repair_document(report: RepairReport) -> dict[str, Any]:
    return {
        "whole": report.is_whole,
        "mended": [
            {"object": item.key, "problem": item.problem, "taken_from": item.taken_from}
            for item in report.mended
        ],
        "not_mended": [
            {"object": key, "problem": problem} for key, problem in sorted(report.left.items())
        ],
        "damaged_packs": list(report.damaged_packs),
        "saved_chunks": report.saved_chunks,
        "fetched_chunks": report.fetched_chunks,
        "stored_bytes": report.stored_bytes,
        "lost": [loss_document(loss) for loss in report.losses],
    }


def _repair_text(report: RepairReport) -> str:
    if not report.damaged_packs and not report.losses and not report.mended:
        return "Nothing is known to be damaged. `holdfast verify` reads everything and tells."
    lines = [
        *(
            f"{item.key}: {item.problem}; put right from {item.taken_from}."
            + ("" if item.was_missing else f" What was there is kept below damaged/{item.key}")
            for item in report.mended
        ),
        *(f"{key} stays damaged: {problem}" for key, problem in sorted(report.left.items())),
        (
            f"{report.saved_chunks} chunks saved from {len(report.damaged_packs)} damaged packs, "
            f"{report.fetched_chunks} fetched from the other repository "
            f"({format_bytes(report.stored_bytes)} stored)."
        ),
        *loss_lines(report.losses),
    ]
    if report.is_whole:
        lines.append("Every restore point can be read in full.")
    return "\n".join(lines)
