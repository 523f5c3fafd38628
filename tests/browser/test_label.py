"""Three items labelled by a person who has a keyboard and no mouse."""

import json
import re

import pytest
from playwright.sync_api import Page, expect

expect.set_options(timeout=30_000)

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def shows(page: Page, item: str) -> None:
    expect(page.locator(f'.keys[data-item="{item}"]')).to_be_visible()


def test_three_items_by_keyboard(app, page):
    url, _, workspace = app
    # The phantoms' headers are in order, so what has nothing wrong is asked for.
    page.goto(f"{url}/label?wrong=nothing")
    expect(page.locator(".page-head h1")).to_have_text("Label")
    expect(page.locator(".viewer canvas").first).to_be_visible()
    t1 = page.get_by_role("button", name="1 T1", exact=True)
    expect(t1).to_be_disabled()
    page.get_by_role("textbox", name="Your name").focus()
    page.keyboard.type("Ada")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(t1).to_be_enabled()

    # A key for the plane and one for the sequence, one right after the other, and the next item is there.
    items = []
    for sequence in ("1", "2", "f"):
        items.append(page.locator(".keys").get_attribute("data-item"))
        page.keyboard.press("c")
        page.keyboard.press(sequence)
        expect(page.locator(".keys")).not_to_have_attribute("data-item", items[-1])
    expect(page.get_by_text(re.compile(r"3 done, \d+ left"))).to_be_visible()

    # Undo leads back, redo brings the answer back, help opens and closes; the name stands in no address.
    page.keyboard.press("u")
    shows(page, items[2])
    page.wait_for_url(re.compile(f"item={items[2]}"))
    expect(page.get_by_text(re.compile(r"2 done, \d+ left"))).to_be_visible()
    page.keyboard.press("r")
    expect(page.get_by_role("button", name="f FLAIR")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowLeft")
    shows(page, items[1])
    assert "Ada" not in page.url
    expect(page.get_by_test_id("stException")).to_have_count(0)

    lines = [json.loads(line) for line in (workspace / "cohorts" / "phantom" / "label_log.jsonl").open()]
    mine = [line for line in lines if line["by"] == "Ada"]
    assert [(line["key"], line["new"]) for line in mine if "key" in line] == [
        (item, word) for item, sequence in zip(items, ("T1", "T2", "FLAIR"), strict=True)
        for word in ("coronal", sequence)
    ]  # fmt: skip
    assert len([line for line in mine if "undo" in line]) == 2
