"""Ctrl-C while a run is followed ends the command and says that the run goes on."""

from __future__ import annotations

import pytest

from holdfast.cli.remote.errors import NoLongerWatched
from holdfast.cli.remote.runs import follow
from holdfast.cli.remote.server import Remote, Server
from holdfast.cli.runtime import command


def test_ctrl_c_is_said_to_leave_the_run() -> None:
    with (
        command(as_json=True) as runtime,
        Server("http://127.0.0.1:9") as server,
        pytest.raises(NoLongerWatched, match="run-7, which goes on") as caught,
    ):
        runtime.cancel.cancel("by SIGINT")
        follow(Remote(runtime=runtime, server=server), "run-7")
    assert "holdfast job cancel run-7" in caught.value.advice
