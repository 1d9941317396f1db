"""The journey of the plan: a VM, a backup, its progress, its files, what a restore gives back."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Locator, Page, expect

from tests.web.conftest import PATIENCE_MS, Look, serious
from tests.web.lab import PASSPHRASE, PASSWORD, Lab, until, web_server, write_image

PHONE = Look(width=390, height=844)
RESTORES = Path("/var/lib/holdfast/restores")
LETTER = "srv/letters/letter.txt"


def _main(page: Page) -> Locator:
    return page.get_by_role("main")


def _badge(page: Page, text: str) -> None:
    """Of the page's own header."""
    expect(_main(page).locator("header").get_by_text(text, exact=True)).to_be_visible(
        timeout=120_000
    )


def _two_versions(lab: Lab) -> tuple[str, str]:
    """Ids of a backup of the first and of one of the second version of `web-server`."""
    found = lab.get("/backup/list", vm_name="web-server", status="completed")["backups"]
    ids = [job["id"] for job in reversed(found)]
    if not ids:
        ids.append(lab.back_up("web-server")["id"])
    if len(ids) == 1:
        write_image(lab.image("web-server"), web_server(2))
        ids.append(lab.back_up("web-server")["id"])
    return ids[0], ids[1]


def _saved(page: Page, button: Locator) -> tuple[str, bytes]:
    """What a click on it downloads: its name and its bytes."""
    with page.expect_download(timeout=120_000) as download:
        button.click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_from_a_vm_to_a_file(lab: Lab, open_lab_page: Callable[..., Page]) -> None:
    page = open_lab_page("/virtual-machines")
    row = page.get_by_role("row").filter(has_text="web-server")
    row.get_by_role("button", name="Backup web-server").click()
    row.get_by_role("link", name="web-server").first.wait_for()
    page.get_by_role("button", name="Watch it").click()
    page.wait_for_url("**/backups/*")
    _badge(page, "Completed")
    page.reload()
    _badge(page, "Completed")
    expect(page.get_by_role("table", name="disks")).to_contain_text("Full")
    assert serious(page) == []
    _two_versions(lab)
    expect(page.get_by_role("link", name="Browse Files")).to_be_visible()
    page.get_by_role("link", name="Browse Files").click()
    page.wait_for_url("**/backups/restore?backup=*")
    tree = page.get_by_role("tree", name="Folders")
    files = page.get_by_role("table", name="Files")
    expect(tree.get_by_role("treeitem")).not_to_have_count(0)
    files.get_by_text("srv", exact=True).click()
    files.get_by_text("letters", exact=True).click()
    expect(page.get_by_role("navigation", name="Path")).to_contain_text("letters")
    assert serious(page) == []
    name, content = _saved(page, files.get_by_role("button", name="Download letter.txt"))
    assert (name, content) == ("letter.txt", web_server(1)[LETTER])
    page.reload()
    expect(files.get_by_text("letter.txt", exact=True)).to_be_visible()
    # The same folder at another time.
    second = page.get_by_role("combobox", name="Restore point").locator("option").first
    page.get_by_role("combobox", name="Restore point").select_option(second.get_attribute("value"))
    expect(files.get_by_text("letter.txt", exact=True)).to_be_visible()
    name, content = _saved(page, files.get_by_role("button", name="Download letter.txt"))
    assert content == web_server(2)[LETTER]
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.get_by_role("heading", name="Open restore points")).to_be_visible()


def test_files_are_searched_looked_at_and_taken_together(
    lab: Lab, open_lab_page: Callable[..., Page]
) -> None:
    _, newest = _two_versions(lab)
    page = open_lab_page(f"/backups/restore?backup={newest}")
    files = page.get_by_role("table", name="Files")
    expect(files.get_by_text("etc", exact=True)).to_be_visible()
    page.get_by_role("searchbox").fill("*.png")
    found = page.get_by_role("table", name="Search results")
    found.get_by_role("button", name="Preview picture.png").click()
    dialog = page.get_by_role("dialog")
    picture = dialog.get_by_role("img", name="picture.png")
    expect(picture).to_be_visible()
    until(lambda: picture.evaluate("it => it.naturalWidth") == 480, "the picture")
    assert serious(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("searchbox").fill("web.conf")
    found.get_by_role("button", name="Preview web.conf").click()
    expect(dialog).to_contain_text("release 1.2.0")
    dialog.get_by_role("button", name="Versions").click()
    difference = dialog.get_by_role("region", name="Difference")
    expect(difference).to_contain_text("workers 4", timeout=120_000)
    expect(difference).to_contain_text("workers 8")
    assert serious(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("searchbox").fill("")
    files.get_by_role("checkbox", name="Choose etc").check()
    files.get_by_role("checkbox", name="Choose srv").check()
    name, content = _saved(page, page.get_by_role("button", name="Download as zip"))
    assert name == "files.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        packed = {
            each.filename: archive.read(each) for each in archive.infolist() if not each.is_dir()
        }
    expected = {
        path: content for path, content in web_server(2).items() if not path.startswith("var")
    }
    assert {path.partition("etc/")[2]: data for path, data in packed.items() if "etc/" in path} == {
        path.removeprefix("etc/"): data for path, data in expected.items() if "etc/" in path
    }
    assert sorted(packed.values()) == sorted(expected.values())
    downloads = page.get_by_role("region", name="Downloads")
    expect(downloads.get_by_text("files.zip")).to_be_visible()
    expect(downloads.get_by_label("Done")).to_be_visible()
    assert serious(page) == []


def test_an_archive_says_how_far_it_is_and_can_be_cancelled(
    lab: Lab, open_lab_page: Callable[..., Page]
) -> None:
    _, newest = _two_versions(lab)
    page = open_lab_page(f"/backups/restore?backup={newest}")
    page.get_by_role("checkbox", name="Choose srv").check()
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")

    def speed(bytes_per_second: int) -> None:
        limits = {"latency": 0, "downloadThroughput": bytes_per_second, "uploadThroughput": -1}
        line.send("Network.emulateNetworkConditions", {"offline": False, **limits})

    downloads = page.get_by_role("region", name="Downloads")
    begin = page.get_by_role("button", name="Download as zip")

    speed(200_000)
    begin.click()
    expect(downloads).to_contain_text(re.compile(r"iB of up to [0-9.]+ MiB . [0-9.]+ [KM]iB/s"))
    bar = downloads.get_by_role("progressbar", name="Download of srv.zip")
    expect(bar).to_have_attribute("aria-valuenow", re.compile("^[1-9]"))
    assert serious(page) == []
    downloads.get_by_role("button", name="Cancel srv.zip").click()
    expect(downloads).to_have_count(0)
    speed(-1)
    name, content = _saved(page, begin)
    assert name == "srv.zip"
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        packed = {each.filename for each in archive.infolist() if not each.is_dir()}
    expected = {path for path in web_server(2) if path.startswith("srv/")}
    assert len(packed) == len(expected)
    expect(downloads.get_by_label("Done")).to_be_visible()


def test_a_disk_is_restored_from_the_wizard(lab: Lab, open_lab_page: Callable[..., Page]) -> None:
    first, _ = _two_versions(lab)
    page = open_lab_page(f"/backups/{first}")
    page.get_by_role("button", name="Restore", exact=True).click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Next").click()
    expect(dialog.get_by_text("No platform can take a VM")).to_be_visible()
    forward = dialog.get_by_role("button", name="Next")
    expect(forward).to_have_attribute("aria-disabled", "true")
    dialog.get_by_role("button", name="Back").click()
    dialog.get_by_label("One disk").check()
    dialog.get_by_role("button", name="Next").click()
    target = RESTORES / f"{lab.folder.parent.name}-{lab.folder.name}.img"
    dialog.get_by_label("Format").select_option("raw")
    dialog.get_by_label("Image file on the service's host").fill("/etc/shadow")
    dialog.get_by_role("button", name="Next").click()
    dialog.get_by_role("button", name="Restore disk").click()
    expect(dialog.get_by_role("alert")).to_contain_text("below")
    dialog.get_by_role("button", name="Back").click()
    dialog.get_by_label("Image file on the service's host").fill(str(target))
    dialog.get_by_role("button", name="Next").click()
    expect(dialog).to_contain_text(str(target))
    assert serious(page) == []
    try:
        dialog.get_by_role("button", name="Restore disk").click()
        page.wait_for_url("**/monitoring/runs/*")
        _badge(page, "Completed")
        page.reload()
        expect(_main(page)).to_contain_text("The disk is restored")
        letter = subprocess.run(
            ["debugfs", "-R", f"cat /{LETTER}", str(target)],
            check=True,
            capture_output=True,
            timeout=60,
        ).stdout
        assert letter == web_server(1)[LETTER]
    finally:
        target.unlink(missing_ok=True)


def test_the_plan_is_shown_before_the_start(lab: Lab, open_lab_page: Callable[..., Page]) -> None:
    _two_versions(lab)
    page = open_lab_page("/backups")
    page.get_by_role("button", name="Start Backup").first.click()
    dialog = page.get_by_role("dialog")
    vm = dialog.get_by_label("Virtual machine", exact=True)
    expect(vm.locator("option", has_text="web-server")).to_have_count(1)
    vm.select_option(label="web-server")
    plan = dialog.get_by_role("region", name="Plan")
    expect(plan).to_contain_text("Incremental")
    dialog.get_by_label("Full").check()
    expect(plan).to_contain_text("Full")
    assert serious(page) == []
    dialog.get_by_role("button", name="Start backup").click()
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Watch it").click()
    _badge(page, "Completed")


def test_the_chain_shows_every_point(lab: Lab, open_lab_page: Callable[..., Page]) -> None:
    first, second = _two_versions(lab)
    page = open_lab_page(f"/backups/{second}?tab=chain")
    chains = page.get_by_role("list", name=re.compile("Chain of"))
    chain = chains.filter(has=page.locator("[aria-current]"))
    expect(chain.get_by_role("listitem")).not_to_have_count(0)
    expect(chain).to_contain_text("Full")
    expect(chain).to_contain_text("Incremental")
    assert serious(page) == []
    chain.get_by_role("link").last.click()
    page.wait_for_url(f"**/backups/{first}?tab=chain*")
    page.reload()
    expect(chain.locator("[aria-current]")).to_contain_text("Full")


def test_what_failed_says_what_to_do(lab: Lab, open_lab_page: Callable[..., Page]) -> None:
    aside = lab.image("vanished").with_suffix(".aside")
    shutil.move(lab.image("vanished"), aside)
    try:
        job = lab.back_up("vanished")
    finally:
        shutil.move(aside, lab.image("vanished"))
    assert job["status"] == "failed", job
    page = open_lab_page(f"/backups/{job['id']}")
    alert = _main(page).get_by_role("alert")
    expect(alert).to_contain_text(job["error_message"][1:])  # a sentence begins large
    expect(alert).to_contain_text(job["error_hint"])
    assert serious(page) == []
    page.get_by_role("button", name="Retry").click()
    page.wait_for_url(lambda url: "/backups/" in url and job["id"] not in url)
    _badge(page, "Completed")


def test_deleting_a_point_asks_for_the_name(lab: Lab, open_lab_page: Callable[..., Page]) -> None:
    _two_versions(lab)
    job = lab.back_up("web-server", "full")
    page = open_lab_page(f"/backups/{job['id']}")
    more = page.get_by_role("button", name="More about this backup")
    more.click()
    page.get_by_role("menuitem", name="Hold…").click()
    page.get_by_label("Reason").fill("before the move")
    page.get_by_role("button", name="Hold", exact=True).click()
    expect(_main(page)).to_contain_text("before the move")
    more.click()
    delete = page.get_by_role("menuitem", name="Delete restore point…")
    expect(delete).to_have_attribute("title", re.compile("held"))
    page.get_by_role("menuitem", name="Release hold").click()
    expect(_main(page)).not_to_contain_text("before the move")
    more.click()
    delete.click()
    dialog = page.get_by_role("dialog")
    confirm = dialog.get_by_role("button", name="Delete restore point")
    expect(confirm).to_have_attribute("aria-disabled", "true")
    dialog.get_by_label("Type web-server to confirm").fill("web-server")
    assert serious(page) == []
    confirm.click()
    page.wait_for_url("**/backups")
    expect(page.get_by_role("heading", level=1)).to_have_text("Backups")
    gone = lab.client.get(f"/api/v1/backup/{job['id']}")
    assert gone.status_code == 404


def test_a_phone_shows_all_of_it(lab: Lab, open_lab_page: Callable[..., Page]) -> None:
    _, newest = _two_versions(lab)
    for path, shown in (
        ("/backups", "web-server"),
        (f"/backups/{newest}", "Restore point"),
        (f"/backups/{newest}?tab=chain", "Full"),
        (f"/backups/restore?backup={newest}", "etc"),
        ("/backups/restore", "web-server"),
    ):
        page = open_lab_page(path, PHONE)
        texts = _main(page).get_by_text(shown, exact=True)
        expect(texts.locator("visible=true").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE.width, path
        assert _main(page).evaluate("it => it.scrollWidth <= it.clientWidth"), path
        assert serious(page) == [], path
        page.context.close()


def test_a_viewer_is_told_why_not(lab: Lab, browser: Browser) -> None:
    _, newest = _two_versions(lab)
    user = {"name": "viewer", "password": PASSPHRASE, "grants": [{"role": "viewer"}]}
    lab.post("/users", user)
    page = browser.new_page(base_url=lab.service.address)
    page.set_default_timeout(PATIENCE_MS)
    page.goto(f"/backups/{newest}")
    page.get_by_label("Name").fill("viewer")
    page.get_by_label("Password", exact=True).fill(PASSPHRASE)
    page.get_by_role("button", name="Sign in").click()
    change = page.get_by_label("New password", exact=True)
    restore = page.get_by_role("button", name="Restore", exact=True)
    expect(change.or_(restore)).to_be_visible()
    if change.is_visible():
        change.fill(PASSWORD)
        page.get_by_role("button", name="Set password and continue").click()
    expect(restore).to_have_attribute("aria-disabled", "true")
    restore.hover()
    expect(page.get_by_role("tooltip").filter(has_text="restore.run").first).to_be_visible()
    page.close()
