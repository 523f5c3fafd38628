"""In a browser: a chart is saved as PNG and SVG, the report is taken away, the stress bench is started and followed."""

import io
import time
from pathlib import Path

import pytest
from PIL import Image

from core import runs

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def opened(page, url: str, view: str) -> None:
    page.goto(f"{url}/errors?view={view}&run={runs.SHIPPED}")
    page.wait_for_selector(".page-head")


def saved(page, chart: str, label: str) -> bytes:
    """Open a chart's menu and press one of its buttons."""
    page.keyboard.press("Escape")
    page.locator(f".st-key-chart-{chart}").get_by_test_id("stPopoverButton").first.click()
    with page.expect_download() as download:
        page.get_by_test_id("stPopoverBody").get_by_role("button", name=label, exact=True).click()
    return Path(download.value.path()).read_bytes()


def test_a_chart_is_saved_in_three_ways(app, page):
    opened(page, app[0], "Uncertainty")
    page.wait_for_selector(".st-key-chart-risk-coverage .js-plotly-plot .main-svg")
    picture = Image.open(io.BytesIO(saved(page, "risk-coverage", "PNG")))
    # Three pixels for each of the screen's, for print.
    assert picture.format == "PNG" and picture.width > 1200
    drawing = saved(page, "risk-coverage", "SVG")
    assert drawing.startswith(b"<svg") and b"Accuracy on them" in drawing
    whole = saved(page, "risk-coverage", "Interactive HTML")
    assert b"Plotly.newPlot" in whole and len(whole) > 1_000_000


def test_the_report_is_taken_away(app, page):
    opened(page, app[0], "Matrix")
    page.get_by_role("button", name="Take away").click()
    with page.expect_download() as download:
        page.get_by_test_id("stPopoverBody").get_by_role("button", name="Report", exact=True).click()
    assert download.value.suggested_filename == "shipped-report.html"
    assert b"Confusion matrices" in Path(download.value.path()).read_bytes()


def test_the_stress_bench_is_started_followed_and_drawn(app, page):
    opened(page, app[0], "Stress")
    page.get_by_text("Not measured yet").wait_for()
    page.get_by_role("slider").press("Home")
    page.get_by_text("Slices of each class").wait_for()
    began = time.monotonic()
    page.get_by_role("button", name="Start the bench").click()
    page.get_by_text("Changing slices and asking the model").wait_for()
    assert time.monotonic() - began < 15
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Start the bench").wait_for()
    page.get_by_role("button", name="Start the bench").click()
    page.wait_for_selector(".st-key-chart-stress-curves .js-plotly-plot .main-svg", timeout=240_000)
    assert page.locator(".steps img").count() == 6
    assert page.get_by_text("What a partner should know: sequence").is_visible()
