"""What surrounds a command: settings, the screen, and stopping on a signal."""

from __future__ import annotations

import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import typer

from holdfast.cli.screen import Screen
from holdfast.core import failpoints
from holdfast.core.cancellation import CancelToken
from holdfast.core.errors import InvalidInput
from holdfast.settings import Settings, read_settings

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    settings: Settings
    screen: Screen
    cancel: CancelToken

    def confirm(self, question: str) -> None:
        """Go on only with a yes. Raises InvalidInput where there is nobody to ask: a command that
        has this takes `--yes`."""
        unasked = InvalidInput(what="--yes", problem="needed with --json and where nobody answers")
        if self.screen.as_json:
            raise unasked
        try:
            agreed = typer.confirm(question, err=True)
        except typer.Abort:
            if sys.stdin.isatty():
                raise
            raise unasked from None  # standard input ended without an answer
        if not agreed:
            raise typer.Abort


_current: list[Screen] = []


@contextmanager
def command(*, as_json: bool) -> Generator[Runtime]:
    """Around the body of every command. A first signal asks the work to stop and clean up, a
    second one ends it at once."""
    settings = read_settings()
    failpoints.arm(settings.failpoints)
    screen = Screen(as_json=as_json)
    _current[:] = [screen]
    cancel = CancelToken()

    def stop(number: int, frame: FrameType | None) -> None:
        del frame
        if cancel.is_cancelled:
            raise KeyboardInterrupt
        cancel.cancel(f"by {signal.Signals(number).name}")

    before = {number: signal.signal(number, stop) for number in _SIGNALS}
    try:
        yield Runtime(settings=settings, screen=screen, cancel=cancel)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def current_screen() -> Screen:
    """The running command's screen, for reporting its error."""
    return _current[0] if _current else Screen(as_json=False)
