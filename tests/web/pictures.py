"""Pictures of every page, light, dark and as wide as a phone, into `docs/pictures`.

    python -m tests.web.pictures [part of a name …]

Made from a real service with a history: VMs of libvirt, backups that completed, failed and run.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Page, sync_playwright

from tests.web.conftest import Look, signed_in_pages
from tests.web.lab import ROOT
from tests.web.scenery import long_runs, make_history, open_scenery

FOLDER = ROOT / "docs" / "pictures"
LOOKS = {
    "light": Look(width=1440, height=900),
    "dark": Look(width=1440, height=900, dark=True),
    "phone": Look(width=390, height=844),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    name: str
    path: str
    """Where; `{…}` are ids of the history."""
    prepare: Callable[[Page], None] | None = None
    watched_s: float = 0.0
    """How long to look on while backups run."""


def _next(page: Page) -> None:
    page.get_by_role("dialog").get_by_role("button", name="Next").click()


def _preview(page: Page) -> None:
    page.get_by_role("searchbox").fill("web.conf")
    page.get_by_role("button", name="Preview web.conf").click()
    page.get_by_role("dialog").get_by_text("release").first.wait_for()


def _versions(page: Page) -> None:
    _preview(page)
    page.get_by_role("button", name="Versions").click()
    page.get_by_role("region", name="Difference").get_by_text("workers").first.wait_for()


def _start(page: Page) -> None:
    page.get_by_role("button", name="Start Backup").first.click()
    dialog = page.get_by_role("dialog")
    select = dialog.get_by_label("Virtual machine", exact=True)
    select.locator("option", has_text="web-server").wait_for(state="attached")
    select.select_option(label="web-server")
    dialog.get_by_role("region", name="Plan").wait_for()


def _choose(page: Page) -> None:
    for name in ("letters", "data"):
        page.get_by_role("checkbox", name=f"Choose {name}").check()


def _summary(page: Page) -> None:
    _next(page)
    page.get_by_role("dialog").get_by_label("Platform").locator("option").nth(1).wait_for(
        state="attached"
    )
    _next(page)
    page.get_by_role("dialog").get_by_text("This will happen").wait_for()


def _discover(page: Page) -> None:
    page.get_by_role("button", name="Discover", exact=True).click()
    page.get_by_role("table").get_by_text("web-server").first.wait_for()


def _progress(page: Page) -> None:
    page.get_by_text(re.compile("(Source|Repository) ?[0-9]+%")).first.wait_for()


def _prune(page: Page) -> None:
    page.get_by_role("button", name="Prune", exact=True).click()
    dialog = page.get_by_role("dialog")
    for label, number in (("Newest of each VM", "2"), ("One a week, for", "1")):
        dialog.get_by_label(label).fill(number)
    for label in ("One a day, for", "One a month, for", "Always the last"):
        dialog.get_by_label(label).fill("")
    dialog.get_by_role("button", name="Preview").click()
    dialog.get_by_role("region", name="Preview").wait_for()


def _download(page: Page) -> None:
    """An archive on a slow line."""
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")
    limits = {"latency": 0, "downloadThroughput": 400_000, "uploadThroughput": -1}
    line.send("Network.emulateNetworkConditions", {"offline": False, **limits})
    page.get_by_role("checkbox", name="Choose data").check()
    page.get_by_role("button", name="Download as zip").click()
    page.get_by_role("region", name="Downloads").get_by_text("of up to").wait_for()


def _alone(page: Page) -> None:
    page.get_by_text("only here").first.wait_for(state="attached", timeout=60_000)


SCENES = (
    Scene(name="dashboard", path="/?vm={vm}"),
    Scene(name="login", path="/login"),
    Scene(name="discovery", path="/discovery", prepare=_discover),
    Scene(name="virtual-machines", path="/virtual-machines?vm={vm}"),
    Scene(name="virtual-machine", path="/virtual-machines/{vm}?vm={vm}"),
    Scene(name="virtual-machine-backups", path="/virtual-machines/{vm}?tab=backups"),
    Scene(name="virtual-machine-runs", path="/virtual-machines/{vm}?tab=runs"),
    Scene(name="backups", path="/backups?vm={vm}"),
    Scene(name="start-backup", path="/backups", prepare=_start),
    Scene(name="backup", path="/backups/{completed}?vm={vm}"),
    Scene(name="backup-failed", path="/backups/{failed}"),
    Scene(name="backup-chain", path="/backups/{completed}?tab=chain", prepare=_alone),
    Scene(name="restore-points", path="/backups/restore?vm={vm}"),
    Scene(
        name="files",
        path="/backups/restore?backup={completed}&path=/{volume}/srv",
        prepare=_choose,
    ),
    Scene(
        name="download",
        path="/backups/restore?backup={completed}&path=/{volume}/srv",
        prepare=_download,
    ),
    Scene(name="file", path="/backups/restore?backup={completed}", prepare=_preview),
    Scene(name="file-versions", path="/backups/restore?backup={completed}", prepare=_versions),
    Scene(
        name="restore-wizard",
        path="/backups/{completed}?restore=vm",
        prepare=_next,
    ),
    Scene(name="restore-summary", path="/backups/{completed}?restore=vm", prepare=_summary),
    Scene(name="logs", path="/logs"),
    Scene(name="settings-platforms", path="/settings/platforms"),
    Scene(name="settings-repositories", path="/settings/repositories"),
    Scene(name="repository", path="/settings/repositories/{repository}"),
    Scene(name="prune", path="/settings/repositories/{repository}", prepare=_prune),
    Scene(name="settings-users", path="/settings/users"),
    Scene(name="settings-tokens", path="/settings/tokens"),
    Scene(name="settings-sign-in", path="/settings/sign-in"),
    Scene(name="settings-notifications", path="/settings/notifications"),
    Scene(name="settings-account", path="/settings/account"),
    Scene(name="settings-service", path="/settings/service"),
    Scene(name="settings-appearance", path="/settings/appearance"),
    Scene(name="settings-about", path="/settings/about"),
    # Last, for what they leave: cancelled runs.
    Scene(name="backup-running", path="/backups/{running}", prepare=_progress, watched_s=3),
    Scene(name="monitoring", path="/monitoring", prepare=_progress, watched_s=5),
)


def take(scene: Scene, ids: dict[str, str], open_one: Callable[..., Page]) -> None:
    """In every look; the pages are open at the same time, so that they show the same instant."""
    path = scene.path.format(**ids)
    # On a phone the VM's panel would lie over the page.
    alone = path.replace(f"?vm={ids['vm']}", "")
    pages = {
        name: open_one(alone if name == "phone" else path, look) for name, look in LOOKS.items()
    }
    for page in pages.values():
        _settle(page)
        if scene.prepare is not None:
            scene.prepare(page)
        _settle(page)
    pages["light"].wait_for_timeout(1000 * scene.watched_s)
    for name, page in pages.items():
        page.screenshot(path=FOLDER / f"{scene.name}-{name}.png")
        page.context.close()
        print(scene.name, name, flush=True)


def _settle(page: Page) -> None:
    """Until nothing is on its way: what was asked first may ask for more, and charts draw
    themselves."""
    quiet = 0
    while quiet < 4:
        page.wait_for_timeout(100)
        quiet = 0 if page.locator(".skeleton").count() else quiet + 1


def shrink() -> None:
    """Few colours are enough for a dashboard. Needs pngquant."""
    if shutil.which("pngquant") is None:
        print("pngquant is not installed: the pictures stay large", file=sys.stderr)
        return
    files = sorted(str(path) for path in FOLDER.glob("*.png"))
    command = ["pngquant", "--force", "--ext", ".png", "--skip-if-larger", "--quality", "60-92"]
    subprocess.run([*command, *files], check=False)


def main(parts: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = [scene for scene in SCENES if not parts or any(part in scene.name for part in parts)]
    with open_scenery() as scenery, sync_playwright() as playwright:
        ids = make_history(scenery)
        service, cookies = scenery.lab.service, scenery.lab.cookies
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        for scene in wanted:
            signed_in = [] if scene.name == "login" else cookies
            with signed_in_pages(browser, service, signed_in) as open_one:
                if not scene.watched_s:
                    take(scene, ids, open_one)
                    continue
                with long_runs(scenery) as ids["running"]:
                    take(scene, ids, open_one)
        browser.close()
    shrink()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(1))  # what was made is removed
    main(sys.argv[1:])
