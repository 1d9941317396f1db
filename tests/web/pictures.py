"""Pictures of every page, light, dark and as wide as a phone, into `docs/pictures`.

    python -m tests.web.pictures [part of a name …]

Made from a real service with a history: image files as VMs, backups that completed, failed and run.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from holdfast.core.units import MIB
from tests.web.conftest import Look, signed_in_pages
from tests.web.lab import LONG_NAME, PASSPHRASE, ROOT, Lab, noise, open_lab, web_server, write_image

FOLDER = ROOT / "docs" / "pictures"
LOOKS = {
    "light": Look(width=1440, height=900),
    "dark": Look(width=1440, height=900, dark=True),
    "phone": Look(width=390, height=844),
}
_VMS = ("database", "mail", "build-runner", LONG_NAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    name: str
    path: str
    """Where; `{…}` are ids of the history."""
    prepare: Callable[[Page], None] | None = None


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
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("One disk").check()
    for _ in range(2):
        dialog.get_by_role("button", name="Next").click()


def _discover(page: Page) -> None:
    page.get_by_role("button", name="Discover", exact=True).click()
    page.get_by_role("table").get_by_text("web-server").first.wait_for()


def _progress(page: Page) -> None:
    page.get_by_text("Where the time goes").first.wait_for(timeout=60_000)
    page.wait_for_timeout(3000)  # for a few points of the graph


def _alone(page: Page) -> None:
    page.get_by_text("only here").first.wait_for(state="attached", timeout=60_000)


def _running(page: Page) -> None:
    page.get_by_text("Details").first.wait_for()
    page.wait_for_timeout(4500)  # for a few points of the graphs


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
    Scene(name="backup-running", path="/backups/{running}", prepare=_progress),
    Scene(name="backup-failed", path="/backups/{failed}"),
    Scene(name="backup-chain", path="/backups/{completed}?tab=chain", prepare=_alone),
    Scene(name="restore-points", path="/backups/restore?vm={vm}"),
    Scene(
        name="files",
        path="/backups/restore?backup={completed}&path=/{volume}/srv",
        prepare=_choose,
    ),
    Scene(name="file", path="/backups/restore?backup={completed}", prepare=_preview),
    Scene(name="file-versions", path="/backups/restore?backup={completed}", prepare=_versions),
    Scene(
        name="restore-wizard",
        path="/backups/{completed}?restore=vm",
        prepare=_next,
    ),
    Scene(name="restore-summary", path="/backups/{completed}?restore=disk", prepare=_summary),
    Scene(name="logs", path="/logs"),
    Scene(name="monitoring", path="/monitoring#{running}", prepare=_running),
    Scene(name="settings-platforms", path="/settings/platforms"),
    Scene(name="settings-repositories", path="/settings/repositories"),
    Scene(name="settings-users", path="/settings/users"),
    Scene(name="settings-tokens", path="/settings/tokens"),
    Scene(name="settings-sign-in", path="/settings/sign-in"),
    Scene(name="settings-notifications", path="/settings/notifications"),
    Scene(name="settings-account", path="/settings/account"),
    Scene(name="settings-service", path="/settings/service"),
    Scene(name="settings-appearance", path="/settings/appearance"),
    Scene(name="settings-about", path="/settings/about"),
)


def make_history(lab: Lab) -> dict[str, str]:
    """Backups of all kinds; their ids by what became of them."""
    for version in (1, 2, 3):
        write_image(lab.image("web-server"), web_server(version))
        completed = lab.back_up("web-server")
    lab.back_up("database")
    lab.back_up(LONG_NAME)
    away = lab.image("mail").with_suffix(".away")
    lab.image("mail").rename(away)
    failed = lab.back_up("mail")
    away.rename(lab.image("mail"))
    lab.post(
        "/users",
        {
            "name": "grace",
            "display_name": "Grace Hopper",
            "password": PASSPHRASE,
            "grants": [{"role": "restore-operator", "scope_kind": "tag", "scope_value": "web"}],
        },
    )
    lab.post("/tokens", {"name": "nightly report", "grants": [{"role": "viewer"}]})
    lab.post(
        "/notifications",
        {
            "name": "On call",
            "url": "ntfys://ntfy.sh/holdfast-on-call",
            "events": ["backup_failed", "repository_offline", "integrity_problem"],
        },
    )
    mount = lab.post("/restore/mount", {"backup_id": completed["id"]})
    return {
        "vm": lab.vms["web-server"],
        "completed": completed["id"],
        "failed": failed["id"],
        "volume": mount["volumes"][0]["id"],
    }


def start_a_long_one(lab: Lab) -> str:
    """A backup that takes a while: its id."""
    image = lab.image("build-runner")
    if image.stat().st_size < 64 * 16 * MIB:
        with image.open("wb") as file:
            for number in range(96):
                file.write(noise(number, 16 * MIB))
    return lab.start("build-runner", "full")["id"]


def take(scene: Scene, ids: dict[str, str], open_one: Callable[..., Page], lab: Lab) -> None:
    for look_name, look in LOOKS.items():
        if "{running}" in scene.path:
            ids["running"] = start_a_long_one(lab)
        path = scene.path.format(**ids)
        if look_name == "phone":
            path = path.replace(f"?vm={ids['vm']}", "")  # it would lie over the page
        page = open_one(path, look)
        page.wait_for_function(
            "() => !document.querySelector('main .skeleton')",
            timeout=120_000,
        )
        if scene.prepare is not None:
            scene.prepare(page)
        page.wait_for_function("() => !document.querySelector('.skeleton')")
        page.wait_for_timeout(400)  # a chart draws itself
        page.screenshot(path=FOLDER / f"{scene.name}-{look_name}.png")
        page.context.close()
        print(scene.name, look_name, flush=True)


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
    with (
        tempfile.TemporaryDirectory() as folder,
        open_lab(Path(folder), vms=_VMS) as lab,
        sync_playwright() as playwright,
    ):
        ids = make_history(lab)
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox"]
        )
        with signed_in_pages(browser, lab.service, lab.cookies) as open_one:
            for scene in wanted:
                if scene.name != "login":
                    take(scene, ids, open_one, lab)
        with signed_in_pages(browser, lab.service, []) as open_one:
            for scene in wanted:
                if scene.name == "login":
                    take(scene, ids, open_one, lab)
        browser.close()
    shrink()


if __name__ == "__main__":
    main(sys.argv[1:])
