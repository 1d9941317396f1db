"""`holdfast serve` as its own process, with its own state. Enter at `run_service`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

_STOP_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningService:
    process: subprocess.Popen[str]
    url: str
    """Without a slash at its end."""
    password: str | None
    """Of `admin`, at the first start."""
    log: Path

    def client(self, **headers: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, verify=False)  # noqa: S501

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_S)


@contextmanager
def run_service(
    state: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    listen: str | None = "127.0.0.1:0",
    worker: bool = False,
) -> Generator[RunningService]:
    """`listen` None: where the environment says."""
    log = state.with_name("service.log")
    with log.open("a") as errors:
        process = subprocess.Popen(
            [
                *command(),
                *("serve", "--json"),
                *(["--listen", listen] if listen else []),
                *([] if worker else ["--no-worker"]),
                *arguments,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**base_environment(state), **(environment or {})},
            start_new_session=True,
        )
    try:
        document = _document(process)
        assert document is not None, log.read_text()
        yield RunningService(
            process=process,
            url=document["url"].rstrip("/"),
            password=document["password"],
            log=log,
        )
    finally:
        if process.poll() is None and worker:
            process.send_signal(signal.SIGTERM)  # it ends its worker
            with suppress(subprocess.TimeoutExpired):
                process.wait(_STOP_S)
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=_STOP_S)


def command() -> Sequence[str]:
    return [sys.executable, "-m", "holdfast.cli.main"]


def base_environment(state: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(state.parent),
        "LC_ALL": "C.UTF-8",
        "HOLDFAST_STATE": str(state),
        "HOLDFAST_CACHE": str(state / "cache"),
        "HOLDFAST_LOG_LEVEL": "debug",
    }


def _document(process: subprocess.Popen[str]) -> dict[str, Any] | None:
    """The first JSON document of its output; None when it ended without one."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        with suppress(ValueError):
            return json.loads(text)
    return None
