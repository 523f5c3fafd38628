"""The dossier in a browser: arrows lead through the open cell, a judgement stays; a lasso on the map finds slices."""

import re
import time
from urllib.parse import quote

import pandas as pd
import pytest

pytestmark = pytest.mark.browser


def mistakes(workspace) -> tuple[str, int]:
    """Head's fullest wrong cell of the sequence, and its slices."""
    table = pd.read_parquet(workspace / "runs" / "shipped" / "predictions.parquet")
    wrong = table[(table["head"] == "sequence") & (table["y_true"] != table["y_pred"])]
    cells = (wrong["y_true"] + "|" + wrong["y_pred"]).value_counts()
    return cells.index[0], int(cells.iloc[0])


def test_arrows_lead_through_the_cell_and_what_is_said_stays(app, page):
    url, _, workspace = app
    cell, n = mistakes(workspace)
    page.goto(f"{url}/errors?run=shipped&cohort=phantom&cell={quote(cell)}")
    page.locator("button[data-key]").first.click()
    dialog = page.locator("[role=dialog]")
    dialog.get_by_text(f"1 of {n}", exact=True).wait_for()
    # All of it is there, so that nothing is drawn anew while the key is on its way.
    dialog.locator("canvas").first.wait_for()
    dialog.get_by_text("what speaks for the answer").wait_for()
    page.keyboard.press("ArrowRight")
    dialog.get_by_text(f"2 of {n}", exact=True).wait_for()
    # The picture's own arrows lead through its series, and not to another dossier.
    address = page.url
    dialog.locator("canvas").first.click()
    page.keyboard.press("ArrowRight")
    time.sleep(1)
    assert page.url == address
    dialog.get_by_role("textbox", name="Your name").fill("Ada")
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Ambiguous").click()
    dialog.locator(".chip", has_text="ambiguous").wait_for()
    page.goto(address)
    dialog.locator(".chip", has_text="ambiguous").wait_for()


def test_a_lasso_on_the_map_finds_slices_and_its_address_finds_them_again(app, page):
    url, _, _ = app
    page.goto(f"{url}/errors?run=shipped&cohort=phantom&view=Map")
    box = page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    page.wait_for_timeout(1500)
    at = [box["x"] + 0.02 * box["width"], box["y"] + 0.05 * box["height"]]
    page.mouse.move(*at)
    page.mouse.down()
    for across, down in ((0.95, 0.05), (0.95, 0.6), (0.02, 0.6), (0.02, 0.1)):
        page.mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"], steps=6)
    page.mouse.up()
    found = page.get_by_text(re.compile(r"slices of \d+ patients?"))
    found.wait_for()
    words, address = found.inner_text(), page.url
    assert "area=" in address
    page.locator("button[data-key]").nth(23).wait_for()
    page.goto(address)
    found.wait_for()
    assert found.inner_text() == words
