"""Uncertainty that acts, in a browser: the slider, the slices that go to a person, and one of them opened."""

import re

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_slices_that_go_to_a_person_open(app, page):
    url, _, _ = app
    page.goto(f"{url}/errors?view=Uncertainty&of_head=sequence&kept=90")
    page.get_by_text("go to a person, the least certain first").wait_for()
    said = page.get_by_text(re.compile(r"^The [\d,]+ slices that go to a person")).inner_text()
    n = int(re.search(r"[\d,]+", said)[0].replace(",", ""))
    page.locator(".grid button").first.wait_for()
    assert page.locator(".grid button").count() == min(n, 24)
    page.locator(".grid button").first.click()
    page.get_by_role("dialog").get_by_text("Mutual information").wait_for()
    assert "slice=" in page.url
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")


def test_views_say_what_the_shipped_run_cannot_choose(app, page):
    url, _, _ = app
    page.goto(f"{url}/errors?view=Uncertainty")
    page.get_by_text("This run has no validation slices, so no threshold is chosen").wait_for()
    page.goto(f"{url}/errors?view=Calibration")
    page.get_by_text("This run has no validation slices: sets of answers").wait_for()
    page.goto(f"{url}/errors?view=Strange+slices")
    page.get_by_text("The tray").wait_for()
    page.goto(f"{url}/errors?view=Series")
    page.get_by_text("Series named rightly").wait_for()
