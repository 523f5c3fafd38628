"""What an app costs that nobody uses: processor time of its whole process tree, with one page open in a browser.

``python -m benchmarks.idle [--seconds 60] [--page train]`` prints the share of one core. It starts an app of its own on
a free port, opens the page in a headless Chromium (Playwright), and waits until what the page asked for is done.
"""

import argparse
import socket
import subprocess
import sys
import time
import urllib.request

import psutil
from playwright.sync_api import sync_playwright

from core.settings import PROJECT_DIR


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def processor_s(root: psutil.Process) -> float:
    """Processor time of a process and its children, those included that have ended."""
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system + used.children_user + used.children_system
    return total


def started(port: int) -> subprocess.Popen:
    """Start the app and wait until it answers."""
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    app = subprocess.Popen(
        [*command, "--server.headless", "true"], cwd=PROJECT_DIR, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for _ in range(240):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2)
            return app
        except OSError:
            time.sleep(0.5)
    app.kill()
    raise SystemExit("The app did not start within two minutes.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--settle", type=float, default=20, help="seconds that a page is given to come to rest")
    parser.add_argument("--pages", nargs="*", default=["", "train"])
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    options = parser.parse_args()
    port = free_port()
    app = started(port)
    try:
        with sync_playwright() as play:
            browser = play.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
            for name in options.pages:
                page = browser.new_page()
                page.goto(f"http://127.0.0.1:{port}/{name}")
                page.get_by_test_id("stAppViewContainer").wait_for(timeout=120_000)
                time.sleep(options.settle)
                root = psutil.Process(app.pid)
                before, clock = processor_s(root), time.perf_counter()
                time.sleep(options.seconds)
                share = (processor_s(root) - before) / (time.perf_counter() - clock)
                print(f"/{name}: {100 * share:.2f} % of a core over {options.seconds:.0f} s", flush=True)
                page.close()
            browser.close()
    finally:
        app.terminate()
        app.wait(timeout=20)


if __name__ == "__main__":
    main()
