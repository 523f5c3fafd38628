"""From a click on a cell of the confusion matrix to its drawn gallery, in a browser, with many predictions.

``python -m benchmarks.errors [--predictions 50000 500000]`` makes a phantom cohort in a workspace of its own, and
beside it cohorts of as many slices as asked for: each slice of the phantoms stands in the table many times over, under
other identifiers. A made-up run of two heads has answered them all. The page is opened in a headless Chromium, cells
are clicked one after the other, and for each the time runs from the click until the pictures of the new cell are
decoded and on the screen. Printed are median and worst of the clicks on cells that were not seen before, whose
thumbnails are made first, and of clicks on cells whose thumbnails are there.
"""

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
from playwright.sync_api import sync_playwright

from core import cohort, demo, runs
from core.analysis import analyses
from core.cohorts.slice_table import Cohort
from core.config import RunConfig
from core.settings import PROJECT_DIR, get_settings

_CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
_CLASSES = {
    "plane": ["axial", "coronal", "sagittal"],
    "sequence": ["T1", "T1CE", "T2", "FLAIR", "PD", "DWI", "SWI", "T2STAR", "ASL", "PWI"],
}
#: Milliseconds from a click on a cell until its gallery is drawn: another first picture, decoded, and two frames.
_CLICK = """async (cell) => {
  const find = (what) => [...document.querySelectorAll('*')].map((one) => one.shadowRoot?.querySelector(what))
    .find(Boolean);
  const first = () => find('.grid button')?.dataset.key + '|' + find('.grid .badge')?.textContent;
  const button = find(`.matrix [data-cell="${cell}"]`), before = first(), start = performance.now();
  button.click();
  while (first() === before) {
    if (performance.now() - start > 120000) throw new Error(`nothing came for ${cell}`);
    await new Promise((done) => setTimeout(done, 4));
  }
  const picture = new Image();
  picture.src = getComputedStyle(find('.grid .picture')).backgroundImage.slice(5, -2);
  await picture.decode();
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  return performance.now() - start;
}"""


def many(made: Cohort, n: int) -> Cohort:
    """Repeat a cohort's slices under other identifiers until there are n of them."""
    times = -(-n // len(made.table))
    parts = []
    for number in range(times):
        one = made.table.copy()
        for column in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "PatientID"):
            one[column] = one[column] + f".{number}"
        parts.append(one)
    table = pd.concat(parts, ignore_index=True).iloc[:n]
    name = f"many-{n}"
    folder = get_settings().cohorts_dir / name
    return cohort.write(Cohort(name, folder, made.root, made.source, table, made.rejected, made.created))


def answered(made: Cohort, part: str = "test") -> runs.Run:
    """Make a run that has answered every slice of a cohort, one in ten of them wrongly."""
    run = runs.create_run(RunConfig(made.name, "dual", made.name), made.name)
    rng, tables = np.random.default_rng(0), []
    columns = ["path", "frame", "SOPInstanceUID", "SeriesInstanceUID", "PatientID"]
    for head, names in _CLASSES.items():
        rows = made.table[columns].assign(path=made.table["shown_path"], split=part, cohort=made.name, head=head)
        true = pd.Index(names).get_indexer(made.table[head])
        named = np.where(rng.random(len(rows)) < 0.1, rng.integers(0, len(names), len(rows)), np.maximum(true, 0))
        proba = rng.dirichlet(np.ones(len(names)), len(rows)).astype(np.float32) / 2
        proba[np.arange(len(rows)), named] += 0.5
        words = np.array(names, object)
        y_true = pd.array(np.where(true >= 0, words[true], None), dtype="str")
        tables.append(rows.assign(y_true=y_true, y_pred=pd.array(words[named], dtype="str"), y_proba=list(proba)))
    pd.concat(tables, ignore_index=True).to_parquet(run.folder / "predictions.parquet", index=False)
    run.bundle.mkdir()
    card = {"name": made.name, "kind": "dual", "classes": _CLASSES, "sha256": "0"}
    (run.bundle / "card.json").write_text(json.dumps(card))
    run.update(state="done")
    return run


def served(workspace: Path) -> tuple[subprocess.Popen, str]:
    """Start the app and wait until it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true", "--server.port", str(port)],
        cwd=PROJECT_DIR, env={**os.environ, "SLICESCOPE_WORKSPACE": str(workspace)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=2)
            return process, url
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.2)
    raise TimeoutError("The app did not start within a minute.")


def clicks(page, url: str, run_id: str) -> list[float]:
    """Open a run's matrix and click its mistakes and some right answers, twice; milliseconds of each click."""
    page.goto(f"{url}/errors?run={run_id}&of_head=sequence")
    page.locator(".matrix button").first.wait_for(timeout=300_000)
    page.wait_for_timeout(2000)
    cells = page.locator(".matrix button:not(.empty)").evaluate_all("all => all.map((one) => one.dataset.cell)")[:16]
    return [page.evaluate(_CLICK, cell) for cell in cells * 2]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--predictions", type=int, nargs="+", default=[50_000, 500_000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SLICESCOPE_WORKSPACE"] = folder
        get_settings.cache_clear()
        # As the headers label it: what people said of the phantoms stands in a log of its own.
        made = cohort.read_unlogged(demo.make_cohort(4).name)
        for n in options.predictions:
            run = answered(many(made, n))
            start = time.perf_counter()
            analyses.write(run)
            print(f"{n:,} slices × 2 heads: analyses in {time.perf_counter() - start:.1f} s", flush=True)
        process, url = served(Path(folder))
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
                page = browser.new_page(viewport={"width": 1440, "height": 1600})
                for n in options.predictions:
                    took = clicks(page, url, f"many-{n}")
                    half = len(took) // 2
                    print(
                        f"{n:,} slices: first click {took[0]:.0f} ms, cells seen for the first time "
                        f"{statistics.median(took[1:half]):.0f} ms (worst {max(took[1:half]):.0f}), seen before "
                        f"{statistics.median(took[half:]):.0f} ms (worst {max(took[half:]):.0f})",
                        flush=True,
                    )
        finally:
            process.terminate()
            process.wait(timeout=20)


if __name__ == "__main__":
    main()
