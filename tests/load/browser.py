"""How long the dashboard takes in Chromium: to show a page, to follow a click, to show what the
service told. Enter at `watch_browser`.

Times are taken inside the page, from the click (or the start of the navigation) to the frame after
what was asked for is there.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from playwright.sync_api import Browser, Page, sync_playwright

from tests.load.folder import OpenFolder
from tests.load.large import Scale
from tests.load.seen import Seen
from tests.support.service_lab import post

_PAGES = {
    "/": "document.querySelectorAll('main svg').length > 0 && !document.querySelector('.skeleton')",
    "/virtual-machines": "document.querySelectorAll('tbody tr a').length >= 40",
    "/backups": "document.querySelectorAll('tbody tr a').length >= 40",
    "/logs": "/attempt 1 begins|completed|stopped/.test(document.querySelector('main').innerText)",
    "/monitoring": "!document.querySelector('.skeleton') && document.querySelector('main h2')",
}
_FIRST_PAGE_MS, _INTERACTION_MS, _UPDATE_MS = 2000.0, 100.0, 500.0
_ROUNDS = 3
"""Of the clicks in a page: the first one after it was loaded is the slowest, and not the only."""
_WATCH = """
window.whenShown = (done, begin) => new Promise((resolve, reject) => {
  const painted = () => requestAnimationFrame(() => setTimeout(
    () => resolve(performance.now() - begin)));
  const look = () => { try { return done() } catch { return false } };
  if (look()) return painted();
  const observer = new MutationObserver(() => {
    if (look()) { observer.disconnect(); painted() }
  });
  observer.observe(document, {
    subtree: true, childList: true, characterData: true, attributes: true});
  setTimeout(() => { observer.disconnect(); reject(new Error('not shown')) }, 30000);
});
window.firstRow = () => document.querySelector('tbody tr a')?.textContent;
window.rows = () => [...document.querySelectorAll('tbody tr a')].map(one => one.href).join();
window.choose = (label, value) => {
  const select = document.querySelector(`select[aria-label="${label}"]`);
  Object.getOwnPropertyDescriptor(HTMLSelectElement.prototype, 'value').set.call(select, value);
  select.dispatchEvent(new Event('change', {bubbles: true}));
};
window.head = (title) => [...document.querySelectorAll('thead button')]
  .find(one => one.textContent.trim() === title).click();
window.press = (key, ctrlKey) => document.body.dispatchEvent(
  new KeyboardEvent('keydown', {key, ctrlKey, bubbles: true}));
window.entries = () => document.querySelectorAll('[data-place]').length;
window.outside = () => [...document.querySelectorAll('aside')].map(one => one.innerText).join();
"""
_SCROLL = """async () => {
  const begin = performance.now();
  let one = document.querySelector('[data-place]');
  while (one.scrollHeight <= one.clientHeight + 10 || getComputedStyle(one).overflowY === 'visible')
    one = one.parentElement;
  const last = () => Math.max(...[...document.querySelectorAll('[data-place]')]
    .map(row => Number(row.dataset.place)));
  const before = last();
  one.scrollTop = 200 * 40;
  return await whenShown(() => last() > before + 150, begin);
}"""
_NEW_ROWS = "(_, before) => rows() !== before && !document.querySelector('tbody.opacity-70')"


@dataclass(frozen=True, slots=True)
class _Step:
    what: str
    act: str
    shown: str
    """A function of the name in the first row, and of all rows, before."""


_VM_STEPS = (
    _Step("VMs: sort", "head('Last backup')", _NEW_ROWS),
    _Step("VMs: sort the other way", "head('Last backup')", _NEW_ROWS),
    _Step("VMs: filter", "choose('Protection', 'failing')", _NEW_ROWS),
    _Step("VMs: no filter", "choose('Protection', '')", _NEW_ROWS),
    _Step(
        "VMs: next page", "document.querySelector('[aria-label=\"Next page\"]').click()", _NEW_ROWS
    ),
    _Step(
        "VMs: choose one",
        "document.querySelector('tbody tr td:nth-child(2)').click()",
        "row => outside().includes(row)",
    ),
    _Step("command palette", "press('k', true)", "() => document.querySelector('[role=combobox]')"),
)
_BACKUP_STEPS = (
    _Step("backups: sort", "head('VM Name')", _NEW_ROWS),
    _Step("backups: sort the other way", "head('VM Name')", _NEW_ROWS),
    _Step("backups: filter", "choose('Status', 'failed')", _NEW_ROWS),
    _Step("backups: another filter", "choose('Status', 'completed')", _NEW_ROWS),
    _Step(
        "backups: next page",
        "document.querySelector('[aria-label=\"Next page\"]').click()",
        _NEW_ROWS,
    ),
)


def watch_browser(scale: Scale, times: int) -> Iterator[Seen]:
    with _browser() as browser:
        for path in _PAGES:
            yield _first_page(browser, scale, path, times)
        yield from _interactions(browser, scale, "/virtual-machines", _VM_STEPS, times)
        yield from _interactions(browser, scale, "/backups", _BACKUP_STEPS, times)
        yield from _updates(browser, scale, times)


def watch_folder(opened: OpenFolder, times: int) -> list[Seen]:
    """The folder as it is drawn, and its end once it was scrolled to."""
    first: list[float] = []
    more: list[float] = []
    with _browser() as browser:
        for _ in range(times):
            with _page(browser, opened) as page:
                page.goto(f"/backups/restore?backup={opened.backup_id}", wait_until="commit")
                page.evaluate("whenShown(() => entries() >= 1, 0)")
                first.append(
                    page.evaluate(
                        """async () => {
                            const begin = performance.now();
                            [...document.querySelectorAll('[data-place]')]
                              .find(one => one.textContent.includes('many')).click();
                            return await whenShown(() => entries() >= 10, begin);
                        }"""
                    )
                )
                more.append(page.evaluate(_SCROLL))
    return [
        Seen(what="folder: opened again", bar_ms=_FIRST_PAGE_MS, values_ms=first),
        Seen(what="folder: scrolled", bar_ms=_INTERACTION_MS, values_ms=more),
    ]


@contextmanager
def _browser() -> Generator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-background-networking"],
        )
        yield browser
        browser.close()


@contextmanager
def _page(browser: Browser, scale: Scale | OpenFolder) -> Generator[Page]:
    """Signed in, with nothing in its cache."""
    context = browser.new_context(
        viewport={"width": 1440, "height": 900}, base_url=scale.service.url
    )
    context.add_cookies(
        [
            {"name": name, "value": value, "url": scale.service.url}
            for name, value in scale.lab.http.cookies.items()
        ]
    )
    context.add_init_script(_WATCH)
    yield context.new_page()
    context.close()


def _first_page(browser: Browser, scale: Scale, path: str, times: int) -> Seen:
    values: list[float] = []
    for _ in range(times):
        with _page(browser, scale) as page:
            page.goto(path, wait_until="commit")
            values.append(page.evaluate(f"whenShown(() => {_PAGES[path]}, 0)"))
    return Seen(what=f"first page {path}", bar_ms=_FIRST_PAGE_MS, values_ms=values)


def _interactions(
    browser: Browser, scale: Scale, path: str, steps: Sequence[_Step], times: int
) -> list[Seen]:
    values: dict[str, list[float]] = {step.what: [] for step in steps}
    for _ in range(times):
        with _page(browser, scale) as page:
            page.goto(path)
            page.evaluate(f"whenShown(() => {_PAGES[path]}, 0)")
            page.wait_for_load_state("networkidle")
            for step in [*steps] * _ROUNDS:
                values[step.what].append(
                    page.evaluate(
                        f"""async () => {{
                            const row = firstRow(), before = rows(), begin = performance.now();
                            {step.act};
                            return await whenShown(() => ({step.shown})(row, before), begin);
                        }}"""
                    )
                )
                page.keyboard.press("Escape")
                page.wait_for_timeout(150)
    return [
        Seen(what=what, bar_ms=_INTERACTION_MS, values_ms=found) for what, found in values.items()
    ]


def _updates(browser: Browser, scale: Scale, times: int) -> list[Seen]:
    """From the moment at which the service has accepted it to the row on the screen."""
    started: list[float] = []
    cancelled: list[float] = []
    with _page(browser, scale) as page:
        page.goto("/backups")
        page.evaluate(f"whenShown(() => {_PAGES['/backups']}, 0)")
        page.wait_for_load_state("networkidle")
        for _ in range(times):
            page.evaluate(_EXPECT, "Waiting")
            run_id = scale.lab.start_backup("small")
            started.append(_shown_after(page, time.time()))
            page.evaluate(_EXPECT, "Cancelled")
            post(scale.lab.http, f"/runs/{run_id}/cancel")
            cancelled.append(_shown_after(page, time.time()))
            page.wait_for_timeout(700)
    return [
        Seen(what="a backup was queued", bar_ms=_UPDATE_MS, values_ms=started),
        Seen(what="it was cancelled", bar_ms=_UPDATE_MS, values_ms=cancelled),
    ]


_EXPECT = """state => {
  window.shown = whenShown(() => {
    const row = document.querySelector('tbody tr').innerText;
    return row.includes('small') && row.includes(state);
  }, performance.now()).then(() => Date.now());
}"""


def _shown_after(page: Page, at_s: float) -> float:
    return max(0.0, page.evaluate("window.shown") - 1000 * at_s)
