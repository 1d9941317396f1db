"""The built dashboard in Chromium against the real service."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Locator,
    Page,
    TimeoutError,
    sync_playwright,
)

ROOT = Path(__file__).parents[2]
EXPORT = ROOT / "web" / "out"
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
PASSWORD = "four dull green lanterns"  # noqa: S105 - of a service that lives for the test
_START_S = 60
_SETTLED = "() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    address: str
    process: subprocess.Popen[str]
    first_password: str


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_healthy(address: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the service ended"
        try:
            httpx.get(f"{address}/api/v1/system/health", timeout=2)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the service did not start")


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`holdfast serve` with an empty catalogue."""
    if not (EXPORT / "index.html").is_file():
        pytest.fail("the dashboard is not built: run `make dashboard`")
    state = tmp_path_factory.mktemp("service")
    address = f"http://127.0.0.1:{_free_port()}"
    output = state / "output"
    with output.open("w") as sink:
        process = subprocess.Popen(
            [
                str(Path(sys.executable).parent / "holdfast"),
                "serve",
                "--listen",
                address.removeprefix("http://"),
            ],
            env={
                **os.environ,
                "HOLDFAST_STATE": str(state / "state"),
                "HOLDFAST_DASHBOARD": str(EXPORT),
            },
            stdout=sink,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            _wait_until_healthy(address, process)
            shown = re.search(r"(?i)password[^\n]*?[:\s]\s*(\S+)\s*$", output.read_text(), re.M)
            assert shown, f"no password was shown: {output.read_text()[:500]}"
            yield Service(address=address, process=process, first_password=shown[1])
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def cookies(service: Service, browser: Browser) -> list[dict[str, object]]:
    """Of the administrator, after the forced change of the first password."""
    page = browser.new_page()
    page.goto(f"{service.address}/virtual-machines?protection=stale")
    page.wait_for_url("**/login?next=*")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password", exact=True).fill(service.first_password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Set password and continue").click()
    page.wait_for_url("**/virtual-machines?protection=stale")
    found = page.context.cookies()
    page.close()
    return [dict(one) for one in found]


@pytest.fixture
def open_page(
    service: Service, browser: Browser, cookies: list[dict[str, object]]
) -> Iterator[Callable[..., Page]]:
    """A signed-in page; fails the test for script errors and for what the CSP stopped."""
    problems: list[str] = []
    contexts: list[BrowserContext] = []

    def open_one(path: str) -> Page:
        context = browser.new_context(
            viewport={"width": 1440, "height": 900},
            color_scheme="light",
            reduced_motion="reduce",  # axe must not see colours on their way to others
            base_url=service.address,
        )
        context.add_cookies(cookies)  # pyright: ignore[reportArgumentType]
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "console",
            lambda message: (
                problems.append(message.text)
                if "Content Security Policy" in message.text or "Minified React" in message.text
                else None
            ),
        )
        page.goto(path)
        page.locator("h1").first.wait_for()
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not problems


def serious(page: Page) -> list[str]:
    """What axe finds serious or critical on the page once it has come to rest."""
    page.evaluate(AXE.read_text())
    found: list[str] = []
    for _ in range(5):
        # Colours on their way from one theme to the other are no finding: a finding stays.
        page.evaluate(_SETTLED)
        found = _violations(page)
        if not found:
            break
        page.wait_for_timeout(500)
    return found


def press_until(page: Page, keys: Sequence[str], shown: Locator) -> None:
    """The keys, again if need be: a page that was just drawn may not listen yet, and keys that
    belong together must come soon after each other."""
    for _ in range(20):
        for key in keys:
            page.keyboard.press(key)
        try:
            shown.wait_for(state="visible", timeout=3000)
        except TimeoutError:
            continue
        return
    raise AssertionError(f"{keys} did nothing")


def _violations(page: Page) -> list[str]:
    found = page.evaluate("axe.run()")
    return [
        f"{item['id']}: {json.dumps([node['html'][:200] for node in item['nodes']][:3])}"
        for item in found["violations"]
        if item["impact"] in {"serious", "critical"}
    ]
