"""Sign-in, the shell and every section, with a service that knows nothing yet."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from tests.web.conftest import press_until, serious
from tests.web.lab import PASSWORD, Service

SECTIONS = {
    "/": "Dashboard",
    "/discovery": "Discovery",
    "/virtual-machines": "Virtual Machines",
    "/backups": "Backups",
    "/logs": "Logs",
    "/monitoring": "Monitoring",
    "/settings/platforms": "Platforms",
    "/settings/repositories": "Repositories",
    "/settings/users": "Users",
    "/settings/tokens": "Tokens",
    "/settings/sign-in": "Sign-in",
    "/settings/notifications": "Notifications",
    "/settings/service": "Service",
    "/settings/account": "Your sign-in",
    "/settings/appearance": "Appearance",
    "/settings/about": "About",
}


@pytest.mark.parametrize("path", SECTIONS)
def test_a_section_is_sound_in_every_look(open_page: Callable[..., Page], path: str) -> None:
    page = open_page(path)
    expect(page.get_by_role("heading", level=1)).to_have_text(SECTIONS[path])
    expect(page.locator("main .skeleton")).to_have_count(0)
    assert serious(page) == []
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html")).to_have_class(re.compile("dark"))
    assert serious(page) == []
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.get_by_role("button", name="Open the navigation")).to_be_visible()
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_wrong_password_is_said_beside_the_form(service: Service, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(f"{service.address}/login")
    page.get_by_label("Name").fill("nobody")
    page.get_by_label("Password", exact=True).fill("not this one")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert").first).to_contain_text("wrong")
    assert serious(page) == []
    page.close()


def test_next_never_leads_elsewhere(service: Service, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(f"{service.address}/login?next=//elsewhere.example/")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Dashboard")
    assert page.url == f"{service.address}/"
    page.close()


def test_palette_menu_and_keys(open_page: Callable[..., Page]) -> None:
    page = open_page("/")
    press_until(page, ["Control+k"], page.get_by_role("combobox"))
    page.get_by_role("combobox").fill("disco")
    assert serious(page) == []
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Discovery")
    press_until(page, ["g", "l"], page.get_by_role("heading", level=1, name="Logs"))
    page.get_by_role("button", name="Administrator").click()
    expect(page.get_by_role("menu")).to_be_visible()
    assert serious(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("menu")).to_be_hidden()
    press_until(page, ["?"], page.get_by_role("dialog"))
    expect(page.get_by_role("dialog")).to_contain_text("Keyboard shortcuts")
    assert serious(page) == []


def test_an_unknown_vm_is_an_error_with_a_way_on(open_page: Callable[..., Page]) -> None:
    page = open_page("/virtual-machines/no-such-id")
    alert = page.get_by_role("main").get_by_role("alert")
    expect(alert).to_contain_text("This does not exist")
    assert page.get_by_role("button", name="Try again").is_visible()


def test_a_lost_connection_is_said_and_mended(open_page: Callable[..., Page]) -> None:
    page = open_page("/backups")
    open_sockets: list[WebSocketRoute] = []
    cut = False

    def route(socket: WebSocketRoute) -> None:
        if cut:
            socket.close()
            return
        socket.connect_to_server()
        open_sockets.append(socket)

    page.route_web_socket("**/socket.io/**", route)
    with page.expect_response("**/api/v1/backup/list*"):
        page.reload()
    banner = page.get_by_text("Connection lost.")
    for _ in range(100):
        if open_sockets:
            break
        page.wait_for_timeout(100)
    cut = True
    open_sockets[-1].close()
    expect(banner).to_be_visible(timeout=30_000)
    assert serious(page) == []
    cut = False
    with page.expect_response("**/api/v1/backup/list*", timeout=30_000):
        expect(banner).to_be_hidden(timeout=30_000)
