"""Two people at two browsers see one queue, which a killed server does not stop; a page with nothing to show rests."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.slow]

PROJECT = Path(__file__).resolve().parents[2]
#: A training that follows the rules and takes its time.
TRAINING = """
import os, signal, sys, time
from pathlib import Path
from core.runs import Run
folder = Path(sys.argv[-1])
run = Run(folder.name, folder)
run.update(state="running", pid=os.getpid())
for epoch in range(1, 601):
    time.sleep(0.2)
    run.update(progress=epoch / 600, message=f"Epoch {epoch} of 600")
"""


def states(workspace):
    lines = subprocess.run(
        [sys.executable, "-m", "core", "runs"], cwd=PROJECT, env={**os.environ, "SLICESCOPE_WORKSPACE": str(workspace)},
        capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    return {line.split()[0]: line.split()[1] for line in lines}


def test_one_starts_a_run_and_the_other_sees_and_cancels_it(app, page):
    url, _, workspace = app
    other = page.context.browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(f"{url}/train")
    page.get_by_role("spinbutton", name="Epochs", exact=True).fill("400")
    page.get_by_role("spinbutton", name="Fine-tuning epochs").fill("50")
    page.get_by_role("button", name="Start training").click()
    expect(page.get_by_role("button", name="Cancel")).to_be_visible(timeout=30_000)

    # The other browser sees it, sees it progress, and sees a second one come by itself.
    other.goto(f"{url}/train?view=Queue")
    expect(other.get_by_text("Epochs left")).to_be_visible(timeout=60_000)
    bar = other.get_by_test_id("stProgress").first
    before = bar.text_content()
    expect(bar).not_to_have_text(before, timeout=60_000)
    page.get_by_test_id("stButtonGroup").get_by_text("New run", exact=True).click()
    page.get_by_role("button", name="Start training").click()
    expect(other.get_by_text("Waiting (1)")).to_be_visible(timeout=30_000)

    # It cancels both; the first browser sees that without a click.
    buttons = other.get_by_role("button", name="Cancel")
    buttons.last.click()
    expect(other.get_by_text(re.compile("Waiting"))).to_have_count(0, timeout=30_000)
    started = time.monotonic()
    buttons.first.click()
    while "running" in states(workspace).values():
        assert time.monotonic() - started < 60
    expect(page.get_by_text("Nothing is queued")).to_be_visible(timeout=30_000)
    assert sorted(states(workspace).values()).count("cancelled") >= 2


def test_a_page_with_nothing_to_follow_lets_the_server_rest(app, page):
    url, server, _ = app
    page.goto(f"{url}/train?view=Queue")
    expect(page.get_by_text("Nothing is queued")).to_be_visible(timeout=30_000)
    time.sleep(5)
    process = psutil.Process(server.pid)
    before, seconds = process.cpu_times(), 20
    time.sleep(seconds)
    after = process.cpu_times()
    assert after.user + after.system - before.user - before.system < 0.01 * seconds


def test_a_killed_server_comes_back_to_a_run_that_went_on(another_server, page, tmp_path):
    url, server, workspace = another_server
    env = {**os.environ, "SLICESCOPE_WORKSPACE": str(workspace), "PYTHONPATH": str(PROJECT)}
    (tmp_path / "training.py").write_text(TRAINING)
    submit = (
        "import sys; from core import jobs; from core.config import RunConfig;"
        "jobs.submit(RunConfig('goes on', 'transfer', 'phantom'), tuple(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", submit, sys.executable, str(tmp_path / "training.py")]
    subprocess.run(command, cwd=PROJECT, env=env, check=True)
    page.goto(f"{url}/train?view=Queue")
    bar = page.get_by_test_id("stProgress").first
    expect(bar).to_have_text(re.compile(r"Epoch \d+"), timeout=60_000)
    before = int(re.search(r"Epoch (\d+)", bar.text_content())[1])
    arguments = psutil.Process(server.pid).cmdline()
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    again = subprocess.Popen(arguments, cwd=PROJECT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    try:
        # The page finds its server again by itself, or after a reload.
        time.sleep(5)
        page.reload()
        expect(bar).to_have_text(re.compile(r"Epoch \d+"), timeout=60_000)
        assert int(re.search(r"Epoch (\d+)", bar.text_content())[1]) > before
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("Nothing is queued")).to_be_visible(timeout=30_000)
    finally:
        again.terminate()
        again.wait(timeout=20)
