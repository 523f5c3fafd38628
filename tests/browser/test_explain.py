"""Explain as a reader uses it: the map comes, an arrow key steps, its map comes, and whether that may be believed."""

import re

import pytest
from playwright.sync_api import expect
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

expect.set_options(timeout=40_000)

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: Sum of the canvas's pixels and how much of it is in colour.
LOOK = (
    "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let sum = 0, colour = 0;"
    " for (let i = 0; i < d.length; i += 4) { sum += d[i] + 256 * d[i + 1] * (i % 251);"
    " colour += Math.abs(d[i] - d[i + 2]) > 8; } return [sum, 4 * colour / d.length]; }"
)


def test_the_map_follows_the_reader_through_the_series(app, page):
    frames = []
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)))
    page.goto(f"{app[0]}/explain?cohort=phantom")
    page.locator(".grid button").first.click()
    viewer, messages = page.locator(".viewer"), page.locator(".panel .message")
    heat = page.locator(".panel canvas").nth(2)
    for at in range(3):
        expect(messages.nth(at)).to_be_empty()
    expect(page.locator(".panel .of").nth(2)).not_to_be_empty()
    page.wait_for_timeout(100)
    before, coloured = heat.evaluate(LOOK)
    assert coloured > 0.5
    address, where = page.url, viewer.locator(".where").first.text_content()
    at, n = map(int, re.match(r"(\d+) / (\d+)", where).groups())
    viewer.press("ArrowDown" if at < n else "ArrowUp")
    expect(viewer.locator(".where").first).not_to_have_text(where)
    # Never another slice's map: its place is empty, with words, until its own is here.
    page.wait_for_url(lambda url: url != address)
    expect(messages.nth(2)).to_be_empty()
    page.wait_for_timeout(100)
    after, coloured = heat.evaluate(LOOK)
    assert coloured > 0.5 and after != before
    page.get_by_text(re.compile(r"all \d+ maps")).wait_for()
    expect(page.locator(".badge")).to_contain_text(re.compile("may be believed|with care|Do not believe"))
    # Five verdicts: of the map, and of each check.
    expect(page.locator(".badge")).to_have_text(re.compile("([✓✗!].*){5}"))
    # A link with a short name of the method opens that method, and keeps it.
    assert "x_method" not in page.url
    page.get_by_role("combobox", name="Method").click()
    page.get_by_role("option", name="Layer-CAM").click()
    page.wait_for_url(re.compile("x_method=layer_cam"))
    viewer.get_by_role("button", name="Image", exact=True).click()
    expect(page.locator(".panel:visible")).to_have_count(1)
    # The server never counts on what a browser may have let go of since: see `minCachedMessageSize` in the settings.
    kinds = {ForwardMsg.FromString(frame).WhichOneof("type") for frame in frames}
    assert "delta" in kinds and "ref_hash" not in kinds
