"""The report: one page, nobody's name, no request, and something sensible for every odd run."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from browser.conftest import CHROMIUM, FLAGS, absent

from core import cohort, runs
from core.__main__ import main
from core.analysis import analyses, report, stress
from core.analysis.stress_changes import CHANGES
from core.config import RunConfig
from core.errors import InputError, RunError
from core.settings import get_settings

CLASSES = ["T1", "T2"]
SECRET = "Lovelace"
N = 24


def without_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def tables(run, classes=CLASSES, nan=False, unknown=False) -> None:
    """Write predictions of 24 slices of six patients, a quarter of them wrong."""
    rng = np.random.default_rng(0)
    true = [classes[at % len(classes)] for at in range(N)]
    proba = rng.dirichlet(np.ones(len(classes)), N)
    for at in range(N):
        wanted = classes.index(true[at]) if at % 4 else (classes.index(true[at]) + 1) % len(classes)
        best = proba[at].argmax()
        proba[at, [wanted, best]] = proba[at, [best, wanted]]
    predicted = [classes[at] for at in proba.argmax(axis=1)]
    if nan:
        proba[:3] = np.nan
    uid = [f"1.2.{at % 6}.{at}" for at in range(N)]
    pd.DataFrame({
        "path": [f"P/{at}.dcm" for at in range(N)], "frame": 0, "SOPInstanceUID": uid, "SeriesInstanceUID": "1.2",
        "PatientID": [f"P-secret{at % 6}" for at in range(N)], "split": ["validation", "test"] * (N // 2),
        "cohort": "made", "head": "sequence", "y_true": pd.array([None] * N if unknown else true, dtype="str"),
        "y_pred": predicted, "y_proba": list(proba),
    }).to_parquet(run.folder / "predictions.parquet")  # fmt: skip
    pd.DataFrame({"SOPInstanceUID": uid, "frame": 0, "PatientID": [f"P-secret{at % 6}" for at in range(N)],
                  "split": ["validation", "test"] * (N // 2)}).to_parquet(run.folder / "split.parquet")  # fmt: skip


def card_of(run, classes=CLASSES) -> None:
    run.bundle.mkdir(exist_ok=True)
    (run.bundle / "model.keras").write_bytes(b"weights")
    card = {"name": run.id, "kind": "transfer", "classes": {"sequence": classes}, "input_shape": [32, 32, 1],
            "sha256": "0" * 64, "split_hash": "abc123", "temperature": {"sequence": 1.5}, "scores": {},
            "weights": f"/home/{SECRET}/weights.keras"}  # fmt: skip
    (run.bundle / "card.json").write_text(json.dumps(card))


def bench_of(run) -> None:
    names, labels = zip(*(step.words for step in stress.STEPS), strict=True)
    n = len(names)
    rows = pd.concat([
        pd.DataFrame({"key": f"k{at}", "step": range(n), "change": names, "strength": labels, "head": "sequence",
                      "PatientID": f"P{at}", "y_true": "T1", "y_pred": ["T1"] * (n - at) + ["T2"] * at, "p": 0.95})
        for at in range(4)
    ])  # fmt: skip
    analyses.folder(run).mkdir(exist_ok=True)
    stress.curves(rows).to_parquet(analyses.folder(run) / "stress_curves.parquet")


@pytest.fixture
def run(workspace):
    run = runs.create_run(RunConfig("My <run>", "transfer", "made"), "judged", state="done")
    tables(run)
    card_of(run)
    return run


def test_report_says_what_was_measured_and_names_nobody(run):
    bench_of(run)
    page = report.html(run)
    table = run.predictions()
    test = table[table["split"] == "test"]
    right = 100 * (test["y_true"] == test["y_pred"]).mean()
    assert f"<b>{right:.1f} %</b>" in page and "12 slices of 3 patients" in page
    assert "My &lt;run&gt;" in page and "<run>" not in page
    assert "abc123" in page and "0" * 64 in page and "Not for clinical use" in page
    assert all(f"{change.title}: sequence" in page for change in CHANGES)
    for word in ("P-secret", SECRET, str(get_settings().workspace), "P/0.dcm", "1.2.0.0"):
        assert word not in page, word
    assert page.count("plotly.js v") == 1
    # Nothing of the page's own markup points elsewhere.
    assert not re.search(r"(src|href)=\"(?!#|data:)", without_scripts(page))


def test_what_analyses_have_stored_is_shown(run):
    folder = analyses.folder(run)
    folder.mkdir(exist_ok=True)
    measures = {f"{name}{end}": [0.5] for name in ("precision", "f1", "auroc", "ap") for end in ("", "_low", "_high")}
    pd.DataFrame({
        "head": ["sequence"], "part": ["test"], "name": ["T1"], "support": [7], "named": [6],
        "patients": [3], "recall": [0.1239],
        "recall_low": [np.nan], "recall_high": [np.nan], **measures,
    }).to_parquet(folder / "class_scores.parquet")  # fmt: skip
    pd.DataFrame({
        "head": ["sequence"] * 2, "part": ["test", "train"], "fact": ["vendor", "field"], "word": ["ACME", "7 T"],
        "fact2": ["tilt", ""], "word2": ["over 15°", ""], "slices": [40, 40], "patients": [5, 5],
        "accuracy": [0.25] * 2, "low": [0.1] * 2, "high": [0.4] * 2, "average": [0.9] * 2, "q": [0.0123] * 2,
    }).to_parquet(folder / "weak_spots.parquet")  # fmt: skip
    score = {"low": 0.1, "high": None, "wrong": 3, "right": 9, "auroc": 0.8765}
    before = {"ece": 0.111, "low": 0.1, "high": 0.12, "brier": 0.5}
    after = {"ece": 0.0222, "low": None, "high": None, "brier": 0.4}
    fitted = {"temperature": 1.75, "fitted_slices": 9, "fitted_patients": 2}
    covered = {"class": "", "covered": 0.777, "size": 1.5, "slices": 12, "under": True}
    vote = {"accuracy": 0.654, "low": 0.6, "high": 0.7, "n": 4}
    stored = {
        "doubt": {"sequence": {"parts": {"test": {"mutual_information": score}}}},
        "calibration": {"sequence": {**fitted, "parts": {"test": {"before": before, "after": after}}}},
        "conformal": {"sequence": {"methods": {"lac": {"0.9": [covered]}}}},
        "novelty": {"kinds": {"axial": {"parts": {"test": {"slices": 12, "strange": 5}}}}},
        "series": {"sequence": {"test": {"slices": vote, "series": vote}}},
    }
    for name, facts in stored.items():
        (folder / f"{name}.json").write_text(json.dumps(facts))
    page = report.html(run)
    for word in ("12.4", "vendor: ACME and tilt: over 15°", "25.0 (10.0 to 40.0)", "mutual information", "87.6", "1.75",
                 "11.1 (10.0 to 12.0)", "77.7", "fewer than promised", "65.4 (60.0 to 70.0)"):  # fmt: skip
        assert word in page, word
    assert "7 T" not in page


def test_sections_that_have_nothing_are_left_out(run):
    page = report.html(run)
    assert "another hospital" not in page and "Worst mistakes" not in page and "Where in the head" not in page
    assert "Confusion matrices" in page


@pytest.mark.parametrize("kind", ["nan", "unknown", "one class", "many classes", "odd names", "one patient"])
def test_odd_runs_have_a_report(run, kind):
    classes = {"one class": ["T1"], "many classes": [f"c{n}" for n in range(45)],
               "odd names": ["</script><script>alert(1)</script>", 'a "b" & c']}.get(kind, CLASSES)  # fmt: skip
    card_of(run, classes)
    tables(run, classes, nan=kind == "nan", unknown=kind == "unknown")
    if kind == "one patient":
        path = run.folder / "predictions.parquet"
        pd.read_parquet(path).assign(PatientID="P").to_parquet(path)
    page = report.html(run)
    assert "<script>alert(1)" not in page
    assert ("there is nothing to judge by" in page) == (kind == "unknown")


def test_pictures_only_when_asked_for(run, make_slice, workspace):
    for at in range(N):
        make_slice(workspace / "raw" / SECRET / f"{at}.dcm", SOPInstanceUID=f"1.2.{at % 6}.{at}",
                   SeriesInstanceUID=f"1.2.{at}", PatientID=SECRET)  # fmt: skip
    cohort.write(cohort.scan(workspace / "raw", "made"))
    assert 'src="data:image/png' not in without_scripts(report.html(run))
    page = report.html(run, pictures=True)
    table = run.predictions()
    wrong = int(((table["y_true"] != table["y_pred"]) & (table["split"] == "test")).sum())
    assert without_scripts(page).count('src="data:image/png') == wrong and SECRET not in page


def test_command_writes_it_and_says_what_is_wrong(run, tmp_path, capsys):
    out = tmp_path / "report.html"
    assert main(["report", "judged", "--out", str(out)]) == 0
    assert out.stat().st_size > 1_000_000 and "judged" in capsys.readouterr().out
    assert main(["report", "judged", "--out", str(tmp_path / "report.pdf")]) == 2
    assert "written as .html" in capsys.readouterr().err
    with pytest.raises(InputError, match="cannot be written"):
        report.write(run, tmp_path / "report.html" / "below.html")
    (run.folder / "predictions.parquet").unlink()
    with pytest.raises(RunError, match="evaluate it first"):
        report.html(run)


def test_opens_offline_without_an_error_or_a_request(run, tmp_path):
    if CHROMIUM is None:
        absent("There is no Chromium on this machine, so nothing to open the report with.")
    from playwright.sync_api import sync_playwright

    bench_of(run)
    out = tmp_path / "report.html"
    report.write(run, out)
    said, asked = [], []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        context = browser.new_context(offline=True)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(out.as_uri())
        page.wait_for_selector(".js-plotly-plot .main-svg")
        drawn = page.locator(".js-plotly-plot").count()
        browser.close()
    assert drawn >= 5 and said == []
    assert [url for url in asked if not url.startswith("data:")] == [out.as_uri()]
