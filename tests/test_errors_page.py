"""Matrix and Classes on the Errors page, run by Streamlit's AppTest over made-up runs."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core import cohort, runs
from core.analysis import analyses
from core.config import RunConfig
from core.settings import get_settings

PROJECT = Path(__file__).resolve().parent.parent
CLASSES = {"plane": ["axial", "coronal"], "sequence": ["T1", "T2", "PD"]}


@pytest.fixture(scope="module")
def judged(tmp_path_factory, make_dataset):
    """A workspace with 96 slices of 8 patients, and runs of two heads that have answered them."""
    folder = tmp_path_factory.mktemp("workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLICESCOPE_WORKSPACE", str(folder))
        get_settings.cache_clear()
        for patient, t2, number in np.ndindex(8, 2, 6):
            path = folder / "raw" / f"{patient}" / f"{t2}-{number}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            make_dataset(
                np.full((16, 16), 100 * number, "<u2"), PatientID=f"P-{patient}", StudyInstanceUID=f"1.2.{patient}",
                SeriesInstanceUID=f"1.2.{patient}.{t2}", InstanceNumber=number, Manufacturer="ACME",
                SOPInstanceUID=f"1.2.{patient}.{t2}.{number}", SeriesDescription="AX T2" if t2 else "AX T1",
                ImagePositionPatient=[0, 0, 5 * number], RepetitionTime=5000 if t2 else 500, EchoTime=100 if t2 else 12,
            ).save_as(path, enforce_file_format=True)  # fmt: skip
        made = cohort.write(cohort.scan(folder / "raw", "small"))
        write_run(made, "first")
        write_run(made, "older", analysed=False)
        write_run(made, "broken", broken=True)
        yield made
    get_settings.cache_clear()


def write_run(made, run_id: str, analysed: bool = True, broken: bool = False):
    run = runs.create_run(RunConfig(run_id, "dual", made.name), run_id)
    table = made.table.reset_index(drop=True)
    columns = ["path", "frame", "SOPInstanceUID", "SeriesInstanceUID", "PatientID"]
    rows = table[columns].assign(path=table["shown_path"], split="test", cohort=made.name)
    # Every sixth slice, the first of each series, is taken for the other sequence; planes are all right.
    wrong = table["image_number"].eq(1)
    sequence = np.where(wrong, np.where(table["sequence"] == "T1", "T2", "T1"), table["sequence"])
    parts = []
    for head, y_pred in (("plane", table["plane"]), ("sequence", sequence)):
        proba = [np.array([0.8 * (name == said) + 0.1 for name in CLASSES[head]]) for said in y_pred]
        if broken:
            proba[0] = np.full(len(CLASSES[head]), np.nan)
        parts.append(rows.assign(head=head, y_true=table[head], y_pred=y_pred, y_proba=proba))
    pd.concat(parts, ignore_index=True).to_parquet(run.folder / "predictions.parquet")
    run.bundle.mkdir()
    card = {"name": run_id, "kind": "dual", "classes": CLASSES, "sha256": "0"}
    (run.bundle / "card.json").write_text(json.dumps(card))
    np.save(run.folder / "embeddings.npy", np.random.default_rng(0).normal(size=(len(rows), 8)).astype(np.float32))
    if analysed:
        analyses.write(run)
    run.update(state="done")


def open_errors(run: str = "first", **address: str) -> AppTest:
    app = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=60)
    app.query_params["run"] = run
    app.run()
    for key, value in {"of_head": "sequence", **address}.items():
        app.query_params[key] = value
    app.switch_page("pages/errors.py").run()
    assert not app.exception, app.exception[0].message
    return app


def words(app: AppTest) -> str:
    texts = []
    for kind in ("html", "markdown", "caption", "error", "warning", "info"):
        texts += [str(getattr(one, "value", None) or getattr(one.proto, "body", "")) for one in app.main.get(kind)]
    return "\n".join(texts)


def numbers(app: AppTest) -> dict[str, str]:
    return {one.label: one.value for one in app.metric}


def test_slices_are_counted_and_said_to_be(judged):
    app = open_errors()
    assert "sequence: slices of the test part" in words(app) and "cohort small" in words(app)
    assert (numbers(app)["Mistakes"], numbers(app)["Slices"]) == ("16", "96") and numbers(app)["Accuracy"] == "83.3 %"
    assert "95 % interval of the accuracy by patient: 83.3 to 83.3 %" in words(app)


@pytest.mark.parametrize("unit", ["series", "patients"])
def test_votes_mend_single_slices(judged, unit):
    app = open_errors(unit=unit)
    # Of 8 patients each shows two sequences, a series each.
    found = numbers(app)
    assert (found["Mistakes"], found[unit.capitalize()], found["From patients"]) == ("0", "16", "8")
    assert f"sequence: {unit} of the test part" in words(app)


def test_both_heads_at_once(judged):
    app = open_errors(joint="true", cell="axial-T1|axial-T2")
    assert "plane and sequence: slices" in words(app) and (numbers(app)["Mistakes"], numbers(app)["Slices"]) == (
        "16",
        "96",
    )
    assert "8 slices of axial-T1 taken for axial-T2" in words(app)


def test_a_cell_of_the_address_is_open(judged):
    assert "8 slices of T1 taken for T2" in words(open_errors(cell="T1|T2"))
    assert "8 series of T1 named rightly" in words(open_errors(cell="T1|T1", unit="series", order="confusion"))
    for strange in ("T1|knee", "|", "<b>|T1", "PD|T1"):
        assert "No cell chosen" in words(open_errors(cell=strange))


def test_a_cell_is_closed_where_something_else_is_counted(judged):
    app = open_errors(cell="T1|T2")
    next(one for one in app.get("button_group") if "Patients" in one.options).set_value("patients").run()
    assert "No cell chosen" in words(app) and "cell" not in app.query_params


def test_classes_have_scores_and_curves(judged):
    app = open_errors(view="Classes")
    table = app.dataframe[0].value.set_index("Class")
    assert table["Slices"].to_dict() == {"T1": 48, "T2": 48}
    assert table["Recall"]["T1"].startswith("0.833")
    assert len(app.get("plotly_chart")) == 2


def test_the_weak_spot_of_the_address_shows_its_slices(judged):
    app = open_errors(view="Classes", spot="third=first third")
    table = app.dataframe[1].value
    # All mistakes lie in the first third of the stacks.
    assert table["Slices of the data"].iloc[0] == "Place in the stack: first third"
    assert table["Mistakes too many"].iloc[0] == pytest.approx(16 - 32 / 6, abs=0.06)
    assert "32 slices with place in the stack first third" in words(app)
    assert "slices with" not in words(open_errors(view="Classes", spot="knee=left"))


def test_an_older_run_says_how_to_have_it(judged):
    said = words(open_errors("older", view="Classes"))
    assert "Not worked out for this run" in said and "python -m core evaluate older" in said
    assert numbers(open_errors("older"))["Mistakes"] == "16"


def test_probabilities_that_are_not_numbers(judged):
    assert "1 slices have no vote" in words(open_errors("broken", unit="series"))
    assert open_errors("broken", view="Classes").dataframe[0].value["Slices"].tolist() == [48, 48]


def test_another_run_can_be_compared(judged):
    app = open_errors()
    button = next(one for one in app.button if one.label == "Compare")
    button.click().run()
    assert not app.exception
    assert app.query_params["view"] in ("Compare", ["Compare"])
    assert any("first" in str(one.value) for one in app.multiselect)
