"""The slice viewer as a reader uses it: wheel, keys, presets, dragging, zoom, two linked stacks, help."""

import re

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from core import cohort
from core.settings import get_settings

expect.set_options(timeout=30_000)

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def pair(app, make_dataset):
    """A study with 12 slices every 5 mm and 24 every 2.5 mm; gives the first slice's key and the second's series."""
    _, _, workspace = app
    folder = workspace / "raw-pair"
    folder.mkdir()
    ramp = np.arange(64 * 64).reshape(64, 64) % 900
    for series, (count, step) in enumerate(((12, 5.0), (24, 2.5))):
        for number in range(count):
            dataset = make_dataset(
                (ramp + 10 * number).astype("<u2"), SeriesInstanceUID=f"1.2.9.{series}", StudyInstanceUID="1.2.9",
                SOPInstanceUID=f"1.2.9.{series}.{number}", SeriesDescription="AX T2" if series else "AX T1",
                RepetitionTime=5000 if series else 500, EchoTime=100 if series else 12, InstanceNumber=number + 1,
                ImagePositionPatient=[0, 0, step * number], FrameOfReferenceUID="1.2.9.9", PixelSpacing=[3, 3],
            )  # fmt: skip
            dataset.save_as(folder / f"{series}-{number}.dcm", enforce_file_format=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLICESCOPE_WORKSPACE", str(workspace))
        get_settings.cache_clear()
        cohort.write(cohort.scan(folder, "pair"))
    get_settings.cache_clear()
    return "1.2.9.0.0:0", "1.2.9.1"


def opened(page: Page, url: str, address: str):
    """Open the viewer and wait until all pixels have come."""
    page.goto(f"{url}/browse?cohort=pair&{address}")
    viewer = page.locator(".viewer")
    expect(viewer.locator(".where").first).to_contain_text("/ 12")
    expect(viewer.locator(".message").first).to_be_empty()
    expect(viewer.locator(".status")).not_to_contain_text("slices here")
    return viewer


def brightness(page: Page, panel: int = 0) -> float:
    """Mean grey of a panel's canvas."""
    return (
        page.locator(".panel canvas")
        .nth(panel)
        .evaluate(
            "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
            " let s = 0; for (let i = 0; i < d.length; i += 4) s += d[i]; return 4 * s / d.length; }"
        )
    )


def test_wheel_and_keys_step_and_the_address_follows(app, pair, page):
    viewer = opened(page, app[0], f"slice={pair[0]}")
    where = viewer.locator(".where")
    expect(where).to_contain_text("S 0.0 mm")
    viewer.locator("canvas").hover()
    page.mouse.wheel(0, 60)
    expect(where).to_have_text(re.compile(r"2 / 12\s+S 5\.0 mm"))
    viewer.press("End")
    expect(where).to_contain_text("12 / 12")
    page.wait_for_url(re.compile(r"slice=1\.2\.9\.0\.11"))
    viewer.press("ArrowUp")
    expect(where).to_contain_text("11 / 12")


def test_letters_and_scale_come_from_the_header(app, pair, page):
    viewer = opened(page, app[0], f"slice={pair[0]}")
    for side, letter in {"left": "R", "right": "L", "top": "A", "bottom": "P"}.items():
        expect(viewer.locator(f".mark.{side}")).to_have_text(letter)
    ruler, canvas = viewer.locator(".scale"), viewer.locator("canvas")
    mm = float(ruler.text_content().split()[0])
    box = canvas.bounding_box()
    # 64 pixels of 3 mm fit into the panel's shorter side.
    per_mm = min(box["width"], box["height"]) / (64 * 3)
    assert ruler.bounding_box()["width"] == pytest.approx(mm * per_mm, rel=0.03)
    viewer.press("+")
    expect(viewer.locator(".level")).to_contain_text("120 %")
    mm = float(ruler.text_content().split()[0])
    assert ruler.bounding_box()["width"] == pytest.approx(1.2 * mm * per_mm, rel=0.03)


def test_presets_dragging_and_reset_change_the_window(app, pair, page):
    viewer = opened(page, app[0], f"slice={pair[0]}")
    level, presets = viewer.locator(".level"), viewer.locator(".presets")
    usual, grey = level.text_content(), brightness(page)
    presets.select_option("Bright vessels")
    expect(level).not_to_have_text(usual)
    page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    assert brightness(page) < 0.6 * grey
    viewer.press("5")
    expect(presets).to_have_value("Full range")
    box = viewer.locator("canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 80, y + 40, steps=4)
    page.mouse.up()
    expect(presets).to_have_value("Own window")
    viewer.press("r")
    expect(level).to_have_text(usual)


def test_two_stacks_are_linked_by_millimetres(app, pair, page):
    viewer = opened(page, app[0], f"slice={pair[0]}&beside={pair[1]}")
    one, two = viewer.locator(".where").nth(0), viewer.locator(".where").nth(1)
    expect(viewer.locator(".status")).to_contain_text("in mm")
    for _ in range(3):
        viewer.press("ArrowDown")
    expect(one).to_contain_text("S 15.0 mm")
    expect(two).to_have_text(re.compile(r"7 / 24\s+S 15\.0 mm\s+same position"))
    viewer.locator("canvas").nth(1).hover()
    page.mouse.wheel(0, 60)
    expect(two).to_have_text(re.compile(r"8 / 24\s+S 17\.5 mm\s+nearest: 2\.5 mm away"))
    viewer.press("l")
    before = two.text_content().split("nearest")[0].strip()
    viewer.press("Home")
    expect(one).to_contain_text("1 / 12")
    assert two.text_content().strip() == before


def test_question_mark_lists_the_keys(app, pair, page):
    viewer = opened(page, app[0], f"slice={pair[0]}")
    viewer.press("?")
    expect(viewer.locator(".help")).to_be_visible()
    expect(viewer.locator(".help")).to_contain_text("window presets")
    viewer.press("Escape")
    expect(viewer.locator(".help")).to_be_hidden()
