"""Take the pictures of the README: the pages of the running app, phantoms only, in the system's Chromium.

``make screenshots``, or ``python docs/screenshots.py [FOLDER]``. Uses a workspace of its own, made anew each time,
so that nobody's data gets into a picture.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect, sync_playwright

PROJECT = Path(__file__).resolve().parent.parent
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-quic", "--hide-scrollbars",
]  # fmt: skip


@contextmanager
def running_app() -> Iterator[str]:
    """Serve the app on a free port, with the phantom cohort; yield its address."""
    with tempfile.TemporaryDirectory() as workspace, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        probe.close()
        env = {**os.environ, "SLICESCOPE_WORKSPACE": workspace}
        subprocess.run([sys.executable, "-m", "core", "demo"], cwd=PROJECT, env=env, check=True)
        server = subprocess.Popen(
            [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true",
             "--server.port", str(port)],
            cwd=PROJECT, env=env, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"{url}/_stcore/health", timeout=2)
                    break
                except (urllib.error.URLError, TimeoutError):
                    time.sleep(0.2)
            yield url
        finally:
            server.terminate()
            server.wait(timeout=20)


def study(page: Page) -> None:
    page.get_by_role("button", name="Load an example study").click()
    page.get_by_role("button", name="Explain this slice").first.wait_for(timeout=180_000)


def browse(page: Page) -> None:
    page.locator(".grid button").nth(2).click()
    page.locator(".viewer .where").first.wait_for()


def train(page: Page) -> None:
    # The look before the start is complete when nothing is waited for any more.
    page.get_by_text("Nothing stands on both sides").wait_for(timeout=240_000)
    page.get_by_text("measured on this machine").wait_for(timeout=240_000)


def errors(page: Page) -> None:
    cells = page.locator(".matrix button:not(.empty)")
    cells.first.wait_for()
    # A cell beside the diagonal tells more; the first one serves where there is no mistake.
    wrong = page.locator(".matrix button.wrong:not(.empty)")
    (wrong if wrong.count() else cells).first.click()
    page.locator(".grid button").first.wait_for()


def uncertainty(page: Page) -> None:
    page.get_by_test_id("stPlotlyChart").first.wait_for()
    page.locator(".grid button").first.wait_for()


def explain(page: Page) -> None:
    page.locator(".grid button").first.click()
    # The map lies in its place without a word, all of the series are made, and its badge has come to a verdict.
    expect(page.locator(".panel .of").nth(2)).not_to_be_empty(timeout=180_000)
    page.get_by_text(re.compile(r"all \d+ maps")).wait_for(timeout=180_000)
    expect(page.locator(".badge > b")).to_have_text(re.compile("^[✓✗!]"), timeout=180_000)
    page.set_viewport_size({"width": 1440, "height": 1080})  # the badge stands below the map


def maps(page: Page) -> None:
    page.get_by_role("button", name="Make the maps").click()
    page.get_by_text("What they say").wait_for(timeout=240_000)
    page.mouse.move(720, 10)  # off the figure, whose tools would lie over its title
    page.get_by_test_id("stPlotlyChart").first.wait_for()


def overview(page: Page) -> None:
    page.get_by_test_id("stPlotlyChart").nth(3).wait_for()


def label(page: Page) -> None:
    page.locator(".viewer .where").first.wait_for()


PAGES = {
    "study": ("", study), "overview": ("browse", overview), "browse": ("browse?view=Series", browse),
    "label": ("label?wrong=nothing", label), "train": ("train", train), "errors": ("errors", errors),
    "uncertainty": ("errors?view=Uncertainty", uncertainty), "explain": ("explain", explain),
    "maps": ("explain?view=Cohort", maps),
}  # fmt: skip


def take(url: str, folder: Path, scheme: str = "light", suffix: str = "") -> None:
    """Visit each page, bring it to life, and save what is seen, at 1440 × 900 unless a page makes itself larger."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("There is no Chromium on this machine. Install it, for example with: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for name, (path, act) in PAGES.items():
            page = browser.new_page(viewport={"width": 1440, "height": 900}, color_scheme=scheme)
            page.set_default_timeout(60_000)
            page.goto(f"{url}/{path}")
            act(page)
            page.wait_for_timeout(2000)  # fonts and the last frame of charts
            page.screenshot(path=folder / f"{name}{suffix}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else PROJECT / "docs" / "screenshots"
    target.mkdir(parents=True, exist_ok=True)
    with running_app() as address:
        take(address, target)
    print(f"{len(PAGES)} pictures in {target}")
