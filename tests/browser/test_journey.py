"""One visit to the pages, as a person would make it."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

# Five seconds are little on a machine that trains meanwhile.
expect.set_options(timeout=30_000)

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def go(page: Page, name: str) -> None:
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()
    expect(page.locator(".page-head h1")).to_have_text(name)
    expect(page.get_by_text("Not for clinical use", exact=True)).to_be_visible()


def no_exception(page: Page) -> None:
    expect(page.get_by_test_id("stException")).to_have_count(0)


@pytest.mark.parametrize("name", ["Study", "Train"])
def test_a_page_opens_by_its_name_and_keeps_what_the_address_asks_for(app, page, name):
    """The first page, too, whose own address is the empty one."""
    page.goto(f"{app[0]}/{name.lower()}?study=none")
    expect(page.locator(".page-head h1")).to_have_text(name)
    expect(page.get_by_test_id("stSidebarNav").get_by_role("link")).to_have_count(6)
    expect(page.get_by_text("Page not found")).to_have_count(0)
    assert "study=none" in page.url
    no_exception(page)


def test_journey_through_all_pages(app, page):
    url, server, _ = app

    # Study: the example is read, every series has verdicts, the table can be had.
    page.goto(url)
    page.get_by_role("button", name="Load an example study").click()
    page.get_by_role("button", name="Explain this slice").first.wait_for(timeout=120_000)
    assert page.locator(".labels .chip").count() >= 2
    with page.expect_download() as download:
        page.get_by_role("button", name="Table of series (CSV)").click()
    header, *rows = Path(download.value.path()).read_text().splitlines()
    assert "plane_verdict" in header and rows
    assert re.search(r"study=[0-9a-f]{16}", page.url)
    no_exception(page)

    # … leads to Explain, where three pictures stand side by side.
    page.get_by_role("button", name="Explain this slice").first.click()
    expect(page.locator(".panel canvas")).to_have_count(3, timeout=120_000)
    expect(page.locator(".panel .name").nth(2)).to_have_text("Map")
    # Downloads wait until nothing on the page refreshes itself any more.
    page.get_by_role("button", name="Save").and_(page.locator(":enabled")).click(timeout=120_000)
    with page.expect_download() as download:
        page.get_by_role("button", name="Figure (PNG)").click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
    no_exception(page)

    # Browse: thumbnails, a click, arrow keys; the address names the slice that is seen.
    go(page, "Browse")
    page.get_by_test_id("stButtonGroup").get_by_text("Series", exact=True).click()
    page.locator(".grid button").first.click()
    viewer = page.locator(".viewer")
    where = viewer.locator(".where").first
    expect(where).to_have_text(re.compile(r"\d+ / \d+"))
    before, slice_before = where.text_content(), page.url
    viewer.focus()
    page.keyboard.press("ArrowDown")
    expect(where).not_to_have_text(before)
    page.wait_for_url(lambda now: now != slice_before)
    no_exception(page)

    # Train: a small run, followed to its end.
    go(page, "Train")
    page.get_by_role("spinbutton", name="Epochs", exact=True).fill("2")
    page.get_by_role("button", name="Start training").click()
    open_run = page.get_by_role("button", name="Open in Errors")
    open_run.wait_for(timeout=240_000)
    no_exception(page)

    # Errors: of that run; a cell, a slice of it, its histogram.
    open_run.click()
    expect(page.locator(".page-head h1")).to_have_text("Errors")
    assert "run=" in page.url
    page.locator(".matrix button:not(.empty)").first.click()
    page.locator(".grid button").first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.locator("canvas").first).to_be_visible()
    no_exception(page)
    dialog.get_by_role("button", name="Explain", exact=True).click()
    expect(page.locator(".page-head h1")).to_have_text("Explain")
    expect(page.locator(".panel canvas")).to_have_count(3, timeout=120_000)
    no_exception(page)

    # All of this without TensorFlow in the server.
    maps = Path(f"/proc/{server.pid}/maps").read_text()
    assert "streamlit" in Path(f"/proc/{server.pid}/cmdline").read_text()
    assert "tensorflow" not in maps


def test_link_into_a_fresh_session_reopens_what_was_seen(app, page):
    url, *_ = app
    page.goto(f"{url}/errors")
    page.locator(".matrix button:not(.empty)").first.click()
    expect(page.locator(".grid button").first).to_be_visible()
    page.wait_for_url(re.compile("cell="))
    again = page.context.browser.new_page()
    again.goto(page.url)
    expect(again.locator('.matrix button[aria-pressed="true"]')).to_have_count(1)
    expect(again.locator(".grid button").first).to_be_visible()
