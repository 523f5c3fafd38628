"""A running app in a workspace of its own, and the system's Chromium to look at it with."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Error, sync_playwright

PROJECT = Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
#: Without the last four, Chromium asks the network for things of its own.
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--disable-quic",
]  # fmt: skip


def absent(what: str) -> None:
    """Skip where a person runs the tests without a browser; fail where a machine must have one."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def serve(workspace: Path) -> tuple[str, subprocess.Popen]:
    """Start the app on a free port, in a process group of its own; return when it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
    log = (workspace / f"server-{port}.log").open("w")
    process = subprocess.Popen(
        [*command, "--server.port", str(port), "--server.address", "127.0.0.1"],
        cwd=PROJECT, env={**os.environ, "SLICESCOPE_WORKSPACE": str(workspace)}, stdout=log, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=2)
            return url, process
        except (urllib.error.URLError, TimeoutError):
            assert process.poll() is None and time.monotonic() < deadline, Path(log.name).read_text()
            time.sleep(0.2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Add to the report of a test that failed what its page showed, and what the server wrote last."""
    report = yield
    seen = getattr(item, "funcargs", {})
    if report.when == "call" and report.failed and "page" in seen:
        with suppress(Error):  # a page that is gone cannot be read, and must not hide why the test failed
            report.sections.append(("What the page showed", f"{seen['page'].url}\n{seen['page'].inner_text('body')}"))
        logs = "\n".join(log.read_text()[-4000:] for log in sorted(seen["app"][2].glob("server-*.log")))
        report.sections.append(("What the server wrote last", logs))
    return report


@pytest.fixture(scope="session")
def app(tmp_path_factory):
    """Address and process of an app whose workspace holds the phantom cohort and the shipped run."""
    if CHROMIUM is None:
        absent("There is no Chromium on this machine (Debian: apt-get install chromium), so no browser journey.")
    workspace = tmp_path_factory.mktemp("workspace")
    env = {**os.environ, "SLICESCOPE_WORKSPACE": str(workspace)}
    subprocess.run([sys.executable, "-m", "core", "demo", "--patients", "4"], cwd=PROJECT, env=env, check=True)
    url, process = serve(workspace)
    yield url, process, workspace
    process.terminate()
    process.wait(timeout=20)


@pytest.fixture
def another_server(app):
    """Address and process of a second server of the same workspace, which a test may kill."""
    url, process = serve(app[2])
    yield url, process, app[2]
    process.kill()
    process.wait(timeout=20)


@pytest.fixture
def page(app):
    """A fresh page of 1440 × 900; errors that the browser throws fail the test."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(60_000)
        thrown = []
        page.on("pageerror", lambda error: thrown.append(str(error)))
        yield page
        browser.close()
        assert not thrown, thrown
