"""Two runs, from the table to the slice that only one of them named rightly."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect

expect.set_options(timeout=60_000)

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def twin(app):
    """A copy of the shipped run that takes five coronal slices for sagittal ones."""
    runs = app[2] / "runs"
    folder = shutil.copytree(runs / "shipped", runs / "twin")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "name": "twin", "dropout": 0.1}))
    table = pd.read_parquet(folder / "predictions.parquet")
    right = (table["y_true"] == "coronal") & (table["y_pred"] == "coronal")
    for row in np.flatnonzero(right)[:5]:
        table.at[row, "y_pred"] = "sagittal"
        table.at[row, "y_proba"] = np.array([0.0, 0.1, 0.9], np.float32)
    table.to_parquet(folder / "predictions.parquet", index=False)
    yield "twin"
    shutil.rmtree(folder)


def test_from_the_table_of_runs_to_a_flipped_slice(app, page: Page, twin):
    page.goto(f"{app[0]}/train?view=Runs&runs=shipped,{twin}")
    page.get_by_role("button", name="Compare 2 runs").click()
    page.get_by_test_id("stButtonGroup").get_by_text("plane", exact=True).click()
    expect(page.get_by_text("twin names")).to_contain_text("95 % interval by patient")
    expect(page.get_by_text("5 in shipped model alone")).to_be_visible()
    assert re.search(r"runs=shipped(%2C|,)twin", page.url)
    tiles = page.locator(".grid button")
    expect(tiles).to_have_count(5)
    expect(tiles.first).to_contain_text("coronal → sagittal")
    tiles.first.click()
    page.get_by_role("button", name="Errors").nth(1).click()
    expect(page.locator(".page-head h1")).to_have_text("Errors")
    expect(page.get_by_role("dialog")).to_contain_text("model: sagittal")
    expect(page.get_by_test_id("stException")).to_have_count(0)
