"""The confusion matrix by keyboard, counting series, and a link that reopens it; classes and a weak spot."""

import re

import pytest
from playwright.sync_api import Page, expect

expect.set_options(timeout=60_000)

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def no_exception(page: Page) -> None:
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_matrix_by_keyboard(app, page: Page):
    page.goto(f"{app[0]}/errors?unit=series&of_head=plane")
    expect(page.get_by_text("plane: series of the test part")).to_be_visible()
    cell = page.locator('.matrix button[tabindex="0"]')
    expect(cell).to_have_count(1)
    cell.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_text("series of axial named rightly")).to_be_visible()
    expect(page.locator(".grid button").first).to_contain_text("slices")
    # The cell keeps the focus, so arrow keys go on from it.
    page.wait_for_function(
        "() => [...document.querySelectorAll('*')].some((e) => e.shadowRoot?.activeElement?.dataset.cell)"
    )
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(page.get_by_text("series of coronal named rightly")).to_be_visible()
    page.wait_for_url(re.compile("cell=coronal"))
    again = page.context.browser.new_page()
    again.goto(page.url)
    expect(again.get_by_text("series of coronal named rightly")).to_be_visible()
    expect(again.locator('.matrix button[aria-pressed="true"]')).to_have_count(1)
    again.locator(".grid button").first.click()
    expect(again.get_by_role("dialog")).to_contain_text("label: coronal")
    no_exception(again)


def test_other_units_close_the_cell(app, page: Page):
    page.goto(f"{app[0]}/errors?of_head=plane&cell=axial%7Caxial")
    expect(page.get_by_text("slices of axial named rightly")).to_be_visible()
    page.get_by_test_id("stButtonGroup").get_by_text("Patients", exact=True).click()
    expect(page.get_by_text("plane: patients of the test part")).to_be_visible()
    expect(page.get_by_text("No cell chosen")).to_be_visible()
    no_exception(page)


def test_classes_and_a_weak_spot(app, page: Page):
    page.goto(f"{app[0]}/errors?view=Classes&of_head=sequence")
    expect(page.get_by_text("Each class of sequence against the others")).to_be_visible()
    expect(page.locator(".js-plotly-plot")).to_have_count(2)
    expect(page.get_by_text("Where it is worse than its average")).to_be_visible()
    no_exception(page)
