"""Whether the slice viewer keeps up with the screen on 200 slices of 512 × 512, and what it sends for them.

``python -m benchmarks.viewer`` indexes such a series in a workspace of its own, opens it in a headless Chromium, and
scrolls with one turn of the wheel a frame, all through. It prints the frames a second beside those of the same page at
rest, both in one run, and what was sent beside the pixels' own size.
"""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from playwright.sync_api import sync_playwright
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from core.settings import PROJECT_DIR, get_settings

SLICES, SIDE = 200, 512
_CHROMIUM = os.environ.get("CHROMIUM", "chromium")
#: Milliseconds from frame to frame over 200 frames, with a turn of the wheel in each where there is a viewer to turn.
_FRAMES = """async (turn) => {
  const host = [...document.querySelectorAll('*')].find((one) => one.shadowRoot?.querySelector('.viewer'));
  const canvas = host.shadowRoot.querySelector('.panel canvas'), times = [];
  await new Promise((done) => {
    const frame = (now) => {
      times.push(now);
      if (times.length > 200) return done();
      if (turn) canvas.dispatchEvent(new WheelEvent('wheel', { deltaY: turn, bubbles: true, cancelable: true }));
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  return times.slice(1).map((time, i) => time - times[i]);
}"""


def write_series(folder: Path) -> None:
    """Write a smooth head with a scanner's noise, 12 bits deep."""
    rng = np.random.default_rng(0)
    down, across = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    for number in range(SLICES):
        head = (
            1200
            * (down**2 + (across * 1.2) ** 2 < 0.7)
            * (1 + 0.4 * np.sin(9 * down + number / 9) * np.cos(11 * across))
        )
        pixels = np.abs(head + rng.normal(0, 30, head.shape)).astype("<u2")
        one = Dataset()
        one.file_meta = FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        for keyword, value in {
            "SOPClassUID": MRImageStorage, "SOPInstanceUID": f"1.2.3.{number}", "StudyInstanceUID": "1.2",
            "SeriesInstanceUID": "1.2.3", "PatientID": "nobody", "Modality": "MR", "SeriesDescription": "AX T1",
            "ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, number],
            "PixelSpacing": [0.45, 0.45], "Rows": SIDE, "Columns": SIDE, "SamplesPerPixel": 1,
            "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15,
            "PixelRepresentation": 0, "InstanceNumber": number + 1, "PixelData": pixels.tobytes(),
        }.items():  # fmt: skip
            setattr(one, keyword, value)
        one["PixelData"].VR = "OW"
        one.save_as(folder / f"{number}.dcm", enforce_file_format=True)


def per_second(times: list[float]) -> float:
    return 1000 * len(times) / sum(times)


def task_s(session) -> float:
    """Processor seconds that the page's thread has spent."""
    metrics = session.send("Performance.getMetrics")["metrics"]
    return next(one["value"] for one in metrics if one["name"] == "TaskDuration")


def measure(url: str, server: psutil.Process) -> None:
    """Open the series, wait for it, scroll through it, and print."""
    before = server.memory_info().rss
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        sent = []
        page.on("websocket", lambda ws: ws.on("framereceived", lambda frame: sent.append(len(frame))))
        page.goto(url)
        viewer = page.locator(".viewer")
        page.wait_for_function(
            "() => [...document.querySelectorAll('*')].some((one) =>"
            " one.shadowRoot?.querySelector('.where')?.textContent.includes('/')"
            " && !one.shadowRoot.querySelector('.message').textContent)", timeout=120_000,
        )  # fmt: skip
        started = time.perf_counter()
        viewer.locator(".status", has_text="slices here").wait_for(state="detached", timeout=300_000)
        loaded_s = time.perf_counter() - started
        rest = page.evaluate(_FRAMES, 0)
        viewer.press("Home")
        # Processor time of the page's own thread, which other programs of the machine do not lengthen.
        spent = page.context.new_cdp_session(page)
        spent.send("Performance.enable", {"timeDomain": "threadTicks"})
        work = [task_s(spent)]
        times = page.evaluate(_FRAMES, 60)
        work.append(task_s(spent))
        where = viewer.locator(".where").text_content().splitlines()[0]
        browser.close()
    grown = server.memory_info().rss - before
    raw = SLICES * SIDE * SIDE * 2
    late = sum(one > 1.5 * statistics.median(rest) for one in times)
    ratio = per_second(times) / per_second(rest)
    print(f"scrolled to {where}: {per_second(times):.1f} frames a second, {ratio:.2f} of the page at rest")
    print(f"median {statistics.median(times):.1f} ms from frame to frame, {late} of {len(times)} late")
    print(f"the page's thread worked {1000 * (work[1] - work[0]) / len(times):.1f} ms a frame, of 16.7 that there are")
    print(
        f"sent {sum(sent) / 1e6:.1f} MB, {sum(sent) / raw:.2f} of the pixels; largest message {max(sent) / 1e6:.2f} MB"
    )
    print(f"all there {loaded_s:.1f} s after the first slice; the web process grew by {grown / 1e6:.0f} MB")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SLICESCOPE_WORKSPACE"] = folder
        get_settings.cache_clear()
        from core import cohort

        raw = Path(folder, "raw")
        raw.mkdir()
        write_series(raw)
        cohort.write(cohort.scan(raw, "big"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true"]
        server = subprocess.Popen([*command, "--server.port", port], cwd=PROJECT_DIR, stdout=subprocess.DEVNULL)
        try:
            process, deadline = psutil.Process(server.pid), time.monotonic() + 60
            while not any(one.laddr.port == int(port) for one in process.net_connections()):
                if time.monotonic() > deadline:
                    raise SystemExit("The app did not start within a minute.")
                time.sleep(0.2)
            measure(f"http://127.0.0.1:{port}/browse?cohort=big&slice=1.2.3.100:0", process)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
