"""Repositories from the dashboard: pruned by what was seen, checked, healed, given new keys."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from holdfast.core.units import MIB
from holdfast.repository import Credential, LocalStore, Repository
from tests.web.conftest import PATIENCE_MS, Look, serious, signed_in_pages
from tests.web.lab import PASSPHRASE, PASSWORD, Lab, open_lab, web_server, write_image

PHONE = Look(width=390, height=844)
RUN_MS = 120_000
SECOND = "Off-site copy of everything in the other building"
NEW_PASSPHRASE = "seven-lamps-above-the-quay"  # noqa: S105


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A service with three backups of `web-server`, one of `mail`, and an empty second repository.
    The tests of this module go on from one another's points, never from their number."""
    folder = tmp_path_factory.mktemp("keeper")
    with open_lab(folder, vms=("mail",)) as lab:
        for version in (1, 2, 3):
            write_image(lab.image("web-server"), web_server(version))
            assert lab.back_up("web-server")["status"] == "completed"
        assert lab.back_up("mail")["status"] == "completed"
        second = {"location": str(folder / "second"), "name": SECOND, "mode": "create"}
        lab.post("/repositories", {**second, "passphrase": PASSPHRASE})
        yield lab


@pytest.fixture
def open_keeper(keeper: Lab, browser: Browser) -> Iterator[Callable[..., Page]]:
    with signed_in_pages(browser, keeper.service, keeper.cookies) as open_one:
        yield open_one


def _page_of(keeper: Lab) -> str:
    return f"/settings/repositories/{keeper.repository_id}"


def _points(keeper: Lab, name: str) -> list[str]:
    """Ids of the backups of a VM that can be restored, oldest first."""
    found = keeper.get("/backup/list", vm_name=name, status="completed")["backups"]
    return [job["id"] for job in reversed(found) if job["point_id"]]


def _choose(page: Page, item: str) -> Locator:
    """From the repository's menu; the dialog that opens."""
    page.get_by_role("button", name="Actions for Main").click()
    page.get_by_role("menuitem", name=item).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    return dialog


def _preview(dialog: Locator) -> Locator:
    """Keep the last one of each VM, however young the others are."""
    for label in ("One a day, for", "One a week, for", "One a month, for"):
        dialog.get_by_label(label).fill("")
    dialog.get_by_label("Newest of each VM").fill("1")
    dialog.get_by_label("Always the last").fill("0")
    dialog.get_by_role("button", name="Preview").click()
    shown = dialog.get_by_role("region", name="Preview")
    expect(shown).to_be_visible()
    return shown


def _run(dialog: Locator, button: str) -> Locator:
    """Start it; what the dialog says when the run has ended."""
    dialog.get_by_role("button", name=button, exact=True).click()
    ended = dialog.get_by_role("status").or_(dialog.get_by_role("alert"))
    expect(dialog.get_by_text("It goes on when you close this.")).to_have_count(0, timeout=RUN_MS)
    expect(ended.last).to_be_visible(timeout=RUN_MS)
    return ended.last


def test_a_prune_deletes_what_the_preview_showed_and_nothing_else(
    keeper: Lab, open_keeper: Callable[..., Page]
) -> None:
    web, mail = _points(keeper, "web-server"), _points(keeper, "mail")
    page = open_keeper("/settings/repositories")
    dialog = _choose(page, "Prune…")
    assert serious(page) == []
    dialog.get_by_label("Newest of each VM").fill("seven")
    expect(dialog.get_by_role("alert")).to_contain_text("A whole number")
    expect(dialog.get_by_role("button", name="Preview")).to_have_attribute("aria-disabled", "true")
    shown = _preview(dialog)
    going, all_points = len(web) - 1, len(web) + len(mail)
    expect(shown.get_by_role("status")).to_contain_text(f"{going} of {all_points} restore points")
    rows = shown.get_by_role("row").filter(has_text="Goes")
    expect(rows).to_have_count(going)
    expect(rows.filter(has_text="web-server")).to_have_count(going)
    expect(rows.first).to_contain_text("No rule keeps it")
    # What it alone holds: its own 3 MiB of numbers at least.
    expect(rows.first).to_contain_text(re.compile(r"[3-9]\.\d+ MiB"))
    assert serious(page) == []
    shown.get_by_role("button", name=re.compile("Staying")).click()
    expect(shown.get_by_role("row").filter(has_text="Stays")).to_have_count(2)
    delete = dialog.get_by_role("button", name=f"Delete {going} restore points")
    expect(delete).to_have_attribute("aria-disabled", "true")
    assert _points(keeper, "web-server") == web, "a preview deletes nothing"
    dialog.get_by_label("Type Main to confirm").fill("Main")
    said = _run(dialog, f"Delete {going} restore points")
    expect(said).to_contain_text(f"{going} restore points deleted")
    expect(said).to_contain_text("Given back")
    assert serious(page) == []
    dialog.get_by_role("link", name="Open the run and its log").click()
    page.wait_for_url("**/monitoring/runs/*")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Prune")
    expect(page.get_by_role("main")).to_contain_text(f"{going} restore points deleted")
    assert serious(page) == []
    assert (_points(keeper, "web-server"), _points(keeper, "mail")) == (web[-1:], mail)


def test_a_prune_of_another_set_than_was_seen_deletes_nothing(
    keeper: Lab, open_keeper: Callable[..., Page]
) -> None:
    keeper.back_up("web-server", "full")
    before = _points(keeper, "web-server")
    page = open_keeper(_page_of(keeper))
    page.get_by_role("button", name="Prune", exact=True).click()
    dialog = page.get_by_role("dialog")
    _preview(dialog)
    keeper.back_up("web-server", "full")  # now another point is one too many
    dialog.get_by_label("Type Main to confirm").fill("Main")
    going = len(before) - 1
    button = f"Delete {going} restore point{'' if going == 1 else 's'}"
    said = _run(dialog, button)
    expect(said).to_contain_text("Nothing was deleted; look at the preview again")
    expect(said).to_contain_text("plan_changed")
    assert serious(page) == []
    assert len(_points(keeper, "web-server")) == len(before) + 1
    dialog.get_by_role("button", name="Preview again").click()
    expect(dialog.get_by_role("button", name=f"Delete {going + 1} restore points")).to_be_visible()


def test_by_a_rule_that_keeps_all_nothing_can_be_deleted(
    keeper: Lab, open_keeper: Callable[..., Page]
) -> None:
    page = open_keeper(_page_of(keeper))
    dialog = _choose(page, "Prune…")
    dialog.get_by_label("Newest of each VM").fill("100")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("region", name="Preview")).to_contain_text("stay.")
    expect(dialog.get_by_role("button", name="Nothing to delete")).to_have_attribute(
        "aria-disabled", "true"
    )
    dialog.get_by_role("button", name="Back").click()
    expect(dialog.get_by_label("Newest of each VM")).to_have_value("100")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_maintenance_from_the_menu_shows_its_run_and_its_result(
    keeper: Lab, open_keeper: Callable[..., Page]
) -> None:
    page = open_keeper(_page_of(keeper))
    dialog = _choose(page, "Check…")
    dialog.get_by_label("Structure and data").check()
    assert serious(page) == []
    expect(_run(dialog, "Check")).to_contain_text("All stored data is sound")
    dialog.get_by_role("button", name="Close").last.click()
    dialog = _choose(page, "Verify…")
    dialog.get_by_label("A sample").check()
    dialog.get_by_label("Percent of the stored data").fill("0")
    expect(dialog.get_by_role("alert")).to_contain_text("above 0")
    dialog.get_by_label("Not verified lately").check()
    dialog.get_by_label("Days since it was verified").fill("30")
    assert serious(page) == []
    expect(_run(dialog, "Verify")).to_contain_text("What was read is sound")
    dialog.get_by_role("button", name="Close").last.click()
    runs = page.get_by_role("table", name="runs")
    expect(runs.get_by_role("row").filter(has_text="Verify").first).to_contain_text("Completed")
    dialog = _choose(page, "Compact…")
    expect(_run(dialog, "Compact")).to_contain_text("give")


def test_damage_is_found_and_healed_from_a_copy(
    keeper: Lab, open_keeper: Callable[..., Page]
) -> None:
    page = open_keeper(_page_of(keeper))
    dialog = _choose(page, "Copy to another…")
    copy = dialog.get_by_role("button", name="Copy", exact=True)
    expect(copy).to_have_attribute("aria-disabled", "true")
    dialog.get_by_label("Copy to").select_option(label=SECOND)
    assert serious(page) == []
    expect(_run(dialog, "Copy")).to_contain_text("copied")
    dialog.get_by_role("button", name="Close").last.click()
    packs = [path for path in (keeper.folder / "repository" / "packs").rglob("*") if path.is_file()]
    for pack in packs:
        if pack.stat().st_size > MIB:  # content; some of it no point needs any more
            os.truncate(pack, 100)
    dialog = _choose(page, "Verify…")
    found = _run(dialog, "Verify")
    expect(found).to_contain_text(re.compile("[0-9]+ damaged packs? in .*cannot be read in full"))
    expect(found).to_contain_text("Repair brings back what a copy in another repository has")
    expect(found).to_contain_text("Error code damage_found")
    assert serious(page) == []
    dialog.get_by_role("button", name="Close").last.click()
    told = page.get_by_role("main").get_by_role("alert")
    expect(told).to_contain_text("The last check found damage")
    figure = page.locator("dl > div").filter(has_text="Result").locator("dd")
    expect(figure).to_have_text("Damaged")
    assert serious(page) == []
    dialog = _choose(page, "Repair…")
    expect(_run(dialog, "Repair")).to_contain_text("What was lost is not here".lower())
    dialog.get_by_role("button", name="Close").last.click()
    dialog = _choose(page, "Repair…")
    dialog.get_by_label("Take what is lost from").select_option(label=SECOND)
    assert serious(page) == []
    healed = _run(dialog, "Repair")
    expect(healed).to_contain_text("Every restore point can be read in full")
    expect(healed).to_contain_text("Chunks fetched")


def test_the_passphrase_is_changed_and_a_kit_is_added(
    keeper: Lab, open_keeper: Callable[..., Page]
) -> None:
    page = open_keeper(_page_of(keeper))
    keys = page.get_by_role("table", name="keys")
    expect(keys.get_by_role("row").filter(has_text="Used here")).to_contain_text("Passphrase")
    page.get_by_role("button", name="New recovery kit").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Recovery kit")).to_have_value(re.compile("HFK1-"))
    assert serious(page) == []
    page.keyboard.press("Escape")
    expect(dialog).to_be_visible()  # not before it is kept
    expect(dialog.get_by_role("status")).to_contain_text("not shown again")
    kit = dialog.get_by_label("Recovery kit")
    to_the_key_px = 16 * 12
    assert kit.evaluate("it => it.clientHeight") > to_the_key_px, "the key is seen at once"
    with page.expect_download() as download:
        dialog.get_by_role("button", name="Download the kit").click()
    assert "HFK1-" in Path(download.value.path()).read_text()
    dialog.get_by_label("I keep the kit in a safe place").check()
    dialog.get_by_role("button", name="Done").click()
    kits = keys.get_by_role("row").filter(has_text="Recovery kit")
    expect(kits).to_have_count(2)
    page.get_by_role("button", name="Change passphrase").click()
    change = dialog.get_by_role("button", name="Change passphrase")
    dialog.get_by_label("Current passphrase", exact=True).fill("not this one")
    dialog.get_by_label("New passphrase", exact=True).fill(NEW_PASSPHRASE)
    expect(change).to_have_attribute("aria-disabled", "true")
    dialog.get_by_label("New passphrase again", exact=True).fill(NEW_PASSPHRASE)
    change.click()
    expect(dialog.get_by_text("It does not open the repository")).to_be_visible()
    expect(dialog.get_by_role("alert")).to_have_count(1)
    assert serious(page) == []
    dialog.get_by_label("Current passphrase", exact=True).fill(PASSPHRASE)
    change.click()
    expect(dialog).to_be_hidden()
    Repository.open(LocalStore(keeper.folder / "repository"), Credential.passphrase(NEW_PASSPHRASE))
    assert keeper.back_up("mail")["status"] == "completed"  # the service uses the new one
    kits.first.get_by_role("button", name="Remove").click()
    dialog.get_by_label("Type Main to confirm").fill("Main")
    assert serious(page) == []
    dialog.get_by_role("button", name="Remove", exact=True).click()
    expect(kits).to_have_count(1)
    own = keys.get_by_role("row").filter(has_text="Used here").get_by_role("button", name="Remove")
    expect(own).to_have_attribute("aria-disabled", "true")


def test_a_dialog_says_when_the_service_is_gone(
    keeper: Lab, open_keeper: Callable[..., Page]
) -> None:
    page = open_keeper(_page_of(keeper))
    dialog = _choose(page, "Check…")
    expect(dialog.get_by_role("radio").first).to_be_focused()
    page.context.set_offline(True)
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("The service cannot be reached")
    page.context.set_offline(False)
    page.route("**/api/v1/runs/*", lambda route: route.abort())
    page.keyboard.press("Enter")
    lost = dialog.get_by_role("status").filter(has_text="The service does not answer")
    alert = dialog.get_by_role("alert").filter(has_text="The service cannot be reached")
    expect(lost.or_(alert)).to_be_visible()
    assert serious(page) == []


def test_an_empty_repository_claims_nothing(
    keeper: Lab, open_keeper: Callable[..., Page], tmp_path: Path
) -> None:
    new = {"location": str(tmp_path / "empty"), "name": "Empty", "mode": "create"}
    made = keeper.post("/repositories", {**new, "passphrase": PASSPHRASE})
    try:
        page = open_keeper(f"/settings/repositories/{made['id']}")
        figure = page.locator("dl > div").filter(has_text="Deduplication").locator("dd")
        expect(figure).to_have_text("\N{EN DASH}")
        page.get_by_role("button", name="Prune", exact=True).click()
        dialog = page.get_by_role("dialog")
        expect(_preview(dialog)).to_contain_text("There are no restore points yet.")
        assert serious(page) == []
    finally:
        keeper.client.delete(f"/api/v1/repositories/{made['id']}")


def test_a_repository_fits_a_phone(keeper: Lab, open_keeper: Callable[..., Page]) -> None:
    for look in (PHONE, Look(width=390, height=844, dark=True)):
        page = open_keeper(_page_of(keeper), look)
        expect(page.get_by_role("table", name="keys")).to_contain_text("Passphrase")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE.width
        main = page.get_by_role("main")
        assert main.evaluate("it => it.scrollWidth <= it.clientWidth")
        runs = page.get_by_role("table", name="runs")
        expect(runs.get_by_role("cell").filter(has_text="web-server").first).to_contain_text(
            "Backup"
        )
        for heading in runs.get_by_role("columnheader").all():
            assert heading.evaluate("it => it.scrollWidth <= it.clientWidth"), "headings overlap"
        assert serious(page) == []
        for item in ("Prune…", "Verify…", "Copy to another…", "Repair…"):
            dialog = _choose(page, item)
            assert dialog.evaluate("it => it.scrollWidth <= it.clientWidth"), item
            assert serious(page) == [], item
            page.keyboard.press("Escape")
            expect(dialog).to_be_hidden()


def test_one_that_is_unknown_is_an_error_with_a_way_on(open_keeper: Callable[..., Page]) -> None:
    page = open_keeper("/settings/repositories/no-such-id")
    expect(page.get_by_role("main").get_by_role("alert")).to_contain_text("This does not exist")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()


def test_a_viewer_is_told_why_not(keeper: Lab, browser: Browser) -> None:
    grants = [{"role": "viewer"}]
    keeper.post("/users", {"name": "viewer", "password": PASSPHRASE, "grants": grants})
    page = browser.new_page(base_url=keeper.service.address)
    page.set_default_timeout(PATIENCE_MS)
    page.goto(_page_of(keeper))
    page.get_by_label("Name").fill("viewer")
    page.get_by_label("Password", exact=True).fill(PASSPHRASE)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("New password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Set password and continue").click()
    prune = page.get_by_role("button", name="Prune", exact=True)
    expect(prune).to_have_attribute("aria-disabled", "true")
    expect(page.get_by_role("main")).to_contain_text("repository.manage")
    page.get_by_role("button", name="Actions for Main").click()
    expect(page.get_by_role("menuitem", name="Verify…")).to_have_attribute(
        "title", re.compile("repository.maintain")
    )
    assert serious(page) == []
    page.close()
