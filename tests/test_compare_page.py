"""Runs and Compare on the Train page, run by Streamlit's AppTest over a small workspace."""

import json
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from core import cohort, runs
from core.config import RunConfig
from core.settings import get_settings

PROJECT = Path(__file__).resolve().parent.parent
CLASSES = ["T1", "T2"]
SECRET = "Lovelace"


@pytest.fixture(scope="module")
def compared(tmp_path_factory, make_dataset):
    """A workspace with 24 test slices of 4 patients, on which four runs err differently, and a failed run."""
    folder = tmp_path_factory.mktemp("workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLICESCOPE_WORKSPACE", str(folder))
        get_settings.cache_clear()
        for patient, t2, number in np.ndindex(4, 2, 3):
            path = folder / "raw" / f"{SECRET}{patient}" / f"{t2}-{number}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            make_dataset(
                np.full((16, 16), 100 * number, "<u2"), PatientID=f"{SECRET}-{patient}", PatientName=SECRET,
                StudyInstanceUID=f"1.2.{patient}", SeriesInstanceUID=f"1.2.{patient}.{t2}", InstanceNumber=number,
                SOPInstanceUID=f"1.2.{patient}.{t2}.{number}", SeriesDescription="AX T2" if t2 else "AX T1",
                ImagePositionPatient=[0, 0, 5 * number], RepetitionTime=5000 if t2 else 500, EchoTime=100 if t2 else 12,
            ).save_as(path, enforce_file_format=True)  # fmt: skip
        made = cohort.write(cohort.scan(folder / "raw", "small"))
        write_run(made, "first", wrong=[0, 1, 2])
        write_run(made, "second", wrong=[2, 3], epochs=3)
        write_run(made, "third", wrong=[], kind="bayesian")
        write_run(made, "elsewhere", wrong=[], split="validation")
        runs.create_run(RunConfig("broken", "transfer", "small"), "broken", state="failed", message="No luck.")
        yield made
    get_settings.cache_clear()


def write_run(made: cohort.Cohort, run_id: str, wrong: list[int], split: str = "test", kind="transfer", **config):
    run = runs.create_run(RunConfig(f"the {run_id}", kind, made.name, **config), run_id)
    table = made.table.reset_index(drop=True)
    columns = ["path", "frame", "SOPInstanceUID", "SeriesInstanceUID", "PatientID"]
    y_pred = [CLASSES[(name == "T2") != (at in wrong)] for at, name in enumerate(table["sequence"])]
    table[columns].assign(
        path=table["shown_path"], split=split, cohort=made.name, head="sequence", y_true=table["sequence"],
        y_pred=y_pred, y_proba=[[0.9 * (name == said) + 0.05 for name in CLASSES] for said in y_pred],
    ).to_parquet(run.folder / "predictions.parquet")  # fmt: skip
    run.bundle.mkdir()
    card = {"name": run_id, "kind": kind, "classes": {"sequence": CLASSES}, "sha256": "0"}
    (run.bundle / "card.json").write_text(json.dumps(card))
    lines = [{"epoch": e, "loss": 1 / e, "val_loss": 1 / e, "accuracy": 0.5, "val_accuracy": 0.4} for e in (1, 2, 3)]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run.update(state="done")


def open_train(**address: str | list[str]) -> AppTest:
    app = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=60)
    app.run()
    for key, value in address.items():
        app.query_params[key] = value
    app.switch_page("pages/train.py").run()
    assert not app.exception, app.exception[0].message
    return app


def words(app: AppTest) -> str:
    texts = []
    for kind in ("html", "markdown", "caption", "error", "warning", "info"):
        texts += [str(getattr(one, "value", None) or getattr(one.proto, "body", "")) for one in app.main.get(kind)]
    said = "\n".join(texts)
    assert SECRET not in said
    return said


def button(app: AppTest, label: str):
    return next((one for one in app.button if one.label == label), None)


def test_table_lists_all_runs(compared):
    app = open_train(view="Runs")
    table = app.dataframe[0].value
    assert set(table["id"]) == {"first", "second", "third", "elsewhere", "broken"}
    assert "5 runs" in words(app) and not button(app, "Compare 2 runs")


def test_filters_stand_in_the_address(compared):
    app = open_train(view="Runs", in_kind="bayesian")
    assert app.dataframe[0].value["id"].tolist() == ["third"] and "1 of 5 runs" in words(app)
    app = open_train(view="Runs", words="the second")
    assert app.dataframe[0].value["id"].tolist() == ["second"]
    assert "No run fits these filters" in words(open_train(view="Runs", words="nowhere"))


def test_one_picked_run_is_drawn(compared):
    assert "No luck." in words(open_train(view="Runs", runs="broken"))
    assert "No luck." not in words(open_train(view="Runs"))


def test_picked_runs_lead_to_their_comparison(compared):
    app = open_train(view="Runs", runs="first,second")
    assert app.query_params["runs"] in ("first,second", ["first,second"])
    button(app, "Compare 2 runs").click().run()
    assert not app.exception
    said = words(app)
    # 21 and 22 of 24 slices.
    assert "the second names 91.7 % of the slices rightly, the first 87.5 %: +4.2 points" in said
    assert "24 test slices of 4 patients" in said and "4 patients only" in said
    assert "2 slices are right in the second alone, 1 in the first alone" in said
    assert len(app.get("plotly_chart")) == 3
    differences = next(one.value for one in app.dataframe if "epochs" in one.value.index)
    assert differences.loc["epochs"].tolist() == ["20", "3"]


def test_turning_compares_with_the_other(compared):
    app = open_train(view="Compare", runs="first,second")
    button(app, "Turn").click().run()
    assert "the first names 87.5 % of the slices rightly, the second 91.7 %: −4.2 points" in words(app)
    assert app.query_params["runs"] in ("second,first", ["second,first"])


def test_of_three_runs_one_pairs_flips_are_shown(compared):
    app = open_train(view="Compare", runs="first,second,third")
    assert "the third names 100.0 %" in words(app) and "2 slices are right in the second alone" in words(app)
    app = open_train(view="Compare", runs="first,second,third", against="the third")
    assert "3 slices are right in the third alone, 0 in the first alone" in words(app)


def test_a_flipped_slice_leads_on(compared):
    key = cohort.slice_key(compared.table.iloc[0])
    app = open_train(view="Compare", runs="first,second", slice=key)
    said = words(app)
    assert "truth: T1" in said and "T2 95 %" in said and "T1 95 %" in said
    assert [one.label for one in app.button].count("Errors") == 2
    # The same slice is not among those that turned wrong.
    app = open_train(view="Compare", runs="first,second", slice=key, flip="Now wrong")
    assert not [one for one in app.button if one.label == "Errors"]


def test_what_cannot_be_compared_is_said(compared):
    said = words(open_train(view="Compare", runs="first,elsewhere"))
    assert "the first and the elsewhere cannot be compared" in said and "no sequence slice in common" in said
    app = open_train(view="Compare", runs="first,broken,../../etc")
    assert "not compared: broken, ../../etc" in words(app) and "Choose two or more runs" in words(app)


def test_no_choice_is_an_empty_state(compared, workspace):
    get_settings.cache_clear()
    assert "Choose two or more runs" in words(open_train(view="Compare"))
    assert "No run yet" in words(open_train(view="Runs"))
