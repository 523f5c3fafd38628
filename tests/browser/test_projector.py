"""The pages on the screen of an old projector, 1024 × 768."""

import pytest
from playwright.sync_api import Page, expect

expect.set_options(timeout=30_000)

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: Words that are cut off: of choices, labels, numbers and buttons. Tables and the captions of tiny pictures may be.
CUT = """() => [...document.querySelectorAll('[data-testid="stMainBlockContainer"] *')].filter((one) =>
  getComputedStyle(one).overflowX !== "visible" && one.clientWidth && one.scrollWidth > one.clientWidth + 2 &&
  one.innerText?.trim() && !one.closest('[data-testid="stDataFrame"], .js-plotly-plot, .strip')
).map((one) => one.innerText.trim().slice(0, 60))"""
VIEWS = {
    "browse": ["Overview", "Slices"], "label": ["Label"], "train": ["New+run", "Compare"],
    "errors": ["Matrix", "Calibration", "Label+issues"], "explain": ["Slice", "Jury"],
}  # fmt: skip


@pytest.mark.parametrize("name", VIEWS)
def test_no_word_is_cut_off(app, page: Page, name):
    page.set_viewport_size({"width": 1024, "height": 768})
    for view in VIEWS[name]:
        page.goto(f"{app[0]}/{name}?view={view}")
        expect(page.locator(".page-head h1")).to_be_visible()
        expect(page.get_by_test_id("stApp")).to_have_attribute("data-test-script-state", "notRunning")
        expect(page.get_by_role("radiogroup").first).to_be_visible()
        assert page.evaluate(CUT) == [], view


def test_a_whole_matrix_stands_above_the_slices_of_its_cell(app, page: Page):
    page.set_viewport_size({"width": 1024, "height": 768})
    page.goto(f"{app[0]}/errors")
    matrix = page.locator(".matrix")
    expect(matrix).to_be_visible()
    assert matrix.evaluate("(one) => one.scrollWidth <= one.clientWidth + 1")
    below = page.get_by_text("No cell chosen").bounding_box()
    assert below["y"] > matrix.bounding_box()["y"] + matrix.bounding_box()["height"]
