"""What can go wrong between a command and the service that it asks."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.core.errors import Category, HoldfastError, Retry


@dataclass(kw_only=True, eq=False)
class NotLoggedIn(HoldfastError):
    code = "not_logged_in"
    category = Category.USAGE
    template = "no service to ask: nobody has logged in here"
    hint = (
        "Run `holdfast login --server URL`, or set HOLDFAST_SERVER and HOLDFAST_TOKEN_FILE "
        "(--server, --token-file)"
    )


@dataclass(kw_only=True, eq=False)
class ServerUnreachable(HoldfastError):
    code = "server_unreachable"
    retry = Retry.LATER
    template = "the service at {server} cannot be reached: {problem}"
    hint = "Check the address, and on its host that `holdfast serve` runs"
    server: str
    problem: str


@dataclass(kw_only=True, eq=False)
class NotAHoldfastServer(HoldfastError):
    code = "not_a_holdfast_server"
    template = "what answers at {server} is not a Holdfast service: {problem}"
    hint = "Check the address; it is the one under which the dashboard opens"
    server: str
    problem: str


@dataclass(kw_only=True, eq=False)
class ServerRefused(HoldfastError):
    """The service's own words; its code is in `problem_code`."""

    code = "server_refused"
    template = "{detail}"
    detail: str
    problem_code: str
    status: int


@dataclass(kw_only=True, eq=False)
class RunEnded(HoldfastError):
    """A run that was waited for did not succeed."""

    code = "run_unsuccessful"
    template = "the run {run} {state}: {problem}"
    hint = "{next_step}"
    run: str
    state: str
    problem: str
    next_step: str


@dataclass(kw_only=True, eq=False)
class NoLongerWatched(HoldfastError):
    """Ctrl-C ended the command, not the run."""

    code = "no_longer_watched"
    category = Category.INTERRUPTED
    retry = Retry.NOW
    template = "no longer watching the run {run}, which goes on"
    hint = "`holdfast job watch {run}` watches it again, `holdfast job cancel {run}` stops it"
    run: str
