"""The built dashboard in Chromium against the real service."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    TimeoutError,
    expect,
    sync_playwright,
)

from tests.web.lab import PASSWORD, Lab, Service, open_lab, serving

ROOT = Path(__file__).parents[2]
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
PATIENCE_MS = 30_000
"""How long a page may take on a machine that is busy with something else."""
_SETTLED = "() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """`holdfast serve` with an empty catalogue."""
    with serving(tmp_path_factory.mktemp("service")) as served:
        yield served


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Another one, with a repository and VMs made of image files."""
    with open_lab(tmp_path_factory.mktemp("lab"), vms=("vanished",)) as opened:
        yield opened


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-background-networking"],
        )
        expect.set_options(timeout=PATIENCE_MS)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a page is looked at with."""

    width: int = 1440
    height: int = 900
    dark: bool = False


@contextmanager
def signed_in_pages(
    browser: Browser, service: Service, cookies: Sequence[Mapping[str, object]]
) -> Generator[Callable[..., Page]]:
    """Opens signed-in pages; at the end raises AssertionError for script errors and for what the
    content security policy stopped."""
    problems: list[str] = []
    contexts: list[BrowserContext] = []

    def watch(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or "Minified React" in message.text:
            problems.append(message.text)

    def open_one(path: str, look: Look | None = None) -> Page:
        seen = look or Look()
        context = browser.new_context(
            viewport={"width": seen.width, "height": seen.height},
            color_scheme="dark" if seen.dark else "light",
            reduced_motion="reduce",  # axe must not see colours on their way to others
            base_url=service.address,
        )
        context.set_default_timeout(PATIENCE_MS)
        context.add_cookies([dict(cookie) for cookie in cookies])  # pyright: ignore[reportArgumentType]
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", watch)
        page.goto(path)
        page.locator("h1").first.wait_for()
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert not problems


@pytest.fixture
def open_page(
    service: Service, browser: Browser, cookies: list[dict[str, object]]
) -> Iterator[Callable[..., Page]]:
    """Pages of the service that knows nothing."""
    with signed_in_pages(browser, service, cookies) as open_one:
        yield open_one


@pytest.fixture
def open_lab_page(lab: Lab, browser: Browser) -> Iterator[Callable[..., Page]]:
    """Pages of the service that has something in it."""
    with signed_in_pages(browser, lab.service, lab.cookies) as open_one:
        yield open_one


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
