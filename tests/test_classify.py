"""What is this? Verdicts, votes, tables as the contract says, and files in = rows + rejected."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from core import bundle, classify, cohort, inference
from core.classify import SERIES_COLUMNS, SLICE_COLUMNS, verdict
from core.errors import RunError
from core.publishing import registry
from core.vocabulary import VERDICTS

CLASSES = {"plane": ["axial", "coronal", "sagittal"], "sequence": ["T1", "T1CE", "T2"]}
CARD = {"classes": CLASSES, "input_shape": [32, 32, 1], "unsure_below": {"plane": 0.5, "sequence": 0.6}}


class BrightnessWorker:
    """Says T1 of dark slices, T2 of bright ones, and axial of all."""

    def predict(self, folder, images):
        bright = images.mean(axis=(1, 2)) > 0.5
        sequence = np.where(bright[:, None], [[0.05, 0.05, 0.9]], [[0.5, 0.3, 0.2]]).astype(np.float32)
        plane = np.tile(np.array([[0.8, 0.1, 0.1]], np.float32), (len(images), 1))
        return inference.Prediction({"plane": plane, "sequence": sequence}, CLASSES, np.zeros((len(images), 1)))


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(bundle, "read_card", lambda folder: CARD)
    monkeypatch.setattr(inference, "get_worker", BrightnessWorker)


@pytest.fixture
def study(tmp_path, workspace, make_slice):
    """Two series in a folder: T1 of three dark slices, the last one blank; T2 of two bright ones; and a note."""
    root, rng = tmp_path / "study", np.random.default_rng(0)
    dark = (1000 * rng.random((16, 16)) ** 6).astype("<u2")
    for number in range(3):
        pixels = dark if number < 2 else np.zeros_like(dark)
        make_slice(root / "one" / f"{number}.dcm", pixels, SOPInstanceUID=f"1.1.{number}", SeriesInstanceUID="1.1",
                   InstanceNumber=number, ImagePositionPatient=[0, 0, 5 * number])  # fmt: skip
    for number in range(2):
        pixels = (1000 * rng.random((16, 16)) ** 0.2).astype("<u2")
        make_slice(root / "two" / f"{number}", pixels, SOPInstanceUID=f"1.2.{number}", SeriesInstanceUID="1.2",
                   SeriesDescription="COR T2", RepetitionTime=4000, EchoTime=100, InstanceNumber=number,
                   ImageOrientationPatient=[1, 0, 0, 0, 0, -1])  # fmt: skip
    (root / "note.txt").write_text("no image")
    return cohort.scan(root, "study")


def test_tables_have_the_columns_of_the_contract(model, study):
    told = []
    slices, series, rejected = classify.classify(study, report=lambda done, total: told.append((done, total)))
    assert list(slices) == list(SLICE_COLUMNS) and list(series) == list(SERIES_COLUMNS)
    assert len(slices) == 5 and len(series) == 2 and told[-1] == (5, 5)
    assert list(rejected["path"]) == ["note.txt"]
    assert set(slices["plane_verdict"]) | set(slices["sequence_verdict"]) <= set(VERDICTS)


def test_answers_come_from_pixels_and_are_compared_with_the_header(model, study):
    slices, series, _ = classify.classify(study)
    of = slices.set_index("path")
    assert of.loc["two/0", ["sequence", "header_sequence", "sequence_verdict"]].tolist() == ["T2", "T2", "agree"]
    assert of.loc["two/0", ["plane", "header_plane", "plane_verdict"]].tolist() == ["axial", "coronal", "disagree"]
    # 0.5 is less than the card's threshold of 0.6.
    assert of.loc["one/0.dcm", ["sequence", "header_sequence", "sequence_verdict"]].tolist() == ["T1", "T1", "unsure"]
    assert of.loc["one/0.dcm", "t1_family_p"] == pytest.approx(0.8)
    assert of.loc["one/0.dcm", "entropy"] == pytest.approx(-sum(p * np.log(p) for p in (0.5, 0.3, 0.2)), abs=1e-5)
    assert series.set_index("path").loc["two", ["n", "sequence", "plane_verdict"]].tolist() == [2, "T2", "disagree"]


def test_blank_slices_are_no_brain_and_have_no_say(model, study):
    slices, series, _ = classify.classify(study)
    assert slices.set_index("path").loc["one/2.dcm", "sequence_verdict"] == "not_a_brain"
    assert series.set_index("path").loc["one", "sequence_p"] == pytest.approx(0.5)


@pytest.mark.parametrize(("below", "apart"), [(0.5, {"1.2"}), (0.05, set())])
def test_what_the_model_sets_apart_is_no_brain_slice_by_slice_and_as_a_series(monkeypatch, study, below, apart):
    """Bright slices are no brains here, as far as the embedding tells."""

    class Worker(BrightnessWorker):
        def predict(self, folder, images):
            answer = super().predict(folder, images)
            return replace(answer, embeddings=np.where(images.mean(axis=(1, 2)) > 0.5, -2.0, 2.0)[:, None])

    card = {**CARD, "brain": {"weight": [1.0], "bias": 0.0, "below": below}}
    monkeypatch.setattr(bundle, "read_card", lambda folder: card)
    monkeypatch.setattr(inference, "get_worker", Worker)
    slices, series, _ = classify.classify(study)
    for column in ("plane_verdict", "sequence_verdict"):
        other = series[column] == "not_a_brain"
        assert set(series["SeriesInstanceUID"][other]) == apart
        other = slices[column] == "not_a_brain"
        assert set(slices["SeriesInstanceUID"][other]) == apart | {"1.1"}  # which has one blank slice
    # The answer is given all the same; the verdict says what it is worth.
    assert set(series["sequence"]) == {"T1", "T2"}


def test_file_whose_pixels_fail_is_rejected_whole(model, study, make_slice):
    (study.root / "one" / "1.dcm").write_bytes((study.root / "one" / "1.dcm").read_bytes()[:-100])
    slices, _, rejected = classify.classify(study)
    assert set(slices["path"]) | set(rejected["path"]) == set(study.table["path"]) | {"note.txt"}
    assert not set(slices["path"]) & set(rejected["path"])
    assert "cut short" in rejected.set_index("path").loc["one/1.dcm", "reason"]


def test_no_slice_at_all(model, study):
    slices, series, rejected = classify.classify(replace(study, table=study.table.iloc[:0]))
    assert slices.empty and series.empty and len(rejected) == 1
    assert list(slices) == list(SLICE_COLUMNS)


def test_model_without_planes_leaves_them_to_the_header(monkeypatch, study):
    class Worker:
        def predict(self, folder, images):
            proba = np.tile(np.array([[0.9, 0.1]], np.float32), (len(images), 1))
            return inference.Prediction({"sequence": proba}, {"sequence": ["T1", "T2"]}, np.zeros((len(images), 1)))

    monkeypatch.setattr(bundle, "read_card", lambda folder: {**CARD, "classes": {"sequence": ["T1", "T2"]}})
    monkeypatch.setattr(inference, "get_worker", Worker)
    slices, series, _ = classify.classify(study)
    assert slices["plane"].isna().all() and slices["plane_p"].isna().all()
    assert set(series["plane_verdict"]) == {"header_only"}


def test_paths_that_name_a_patient_do_not_reach_the_series(model, workspace, tmp_path, make_slice):
    for number in range(2):
        make_slice(tmp_path / "in" / "Lovelace^Adalina" / f"{number}.dcm", InstanceNumber=number)
    _, series, _ = classify.classify(cohort.scan(tmp_path / "in", "study"))
    assert not series["path"].str.contains("Lovelace").any()


@pytest.mark.parametrize(
    ("header", "image", "p", "evidence", "expected"),
    [
        ("T1", "T1", 0.9, "", "agree"),
        ("T1", "T2", 0.9, "", "disagree"),
        ("T1", "T2", 0.4, "", "unsure"),
        (None, "T2", 0.9, "", "image_only"),
        (None, "T2", 0.4, "", "unsure"),
        ("LOCALIZER", "T2", 0.9, "", "header_only"),
        ("T1", None, np.nan, "", "header_only"),
        (None, None, np.nan, "", "header_only"),
        ("T1", "T1CE", 0.9, "TR 500; contrast: unknown", "image_only"),
        ("T1", "T1CE", 0.9, "TR 500", "disagree"),
        ("T1CE", "T1", 0.9, "contrast: unknown", "disagree"),
    ],
)
def test_verdict(header, image, p, evidence, expected):
    assert verdict(header, image, p, 0.5, CLASSES["sequence"], evidence) == expected


def test_evidence_of_a_t1_without_words_on_contrast_is_what_verdict_looks_for(study):
    row = study.table[study.table["sequence"] == "T1"].iloc[0]
    assert verdict("T1", "T1CE", 0.9, 0.5, CLASSES["sequence"], row["sequence_evidence"]) == "image_only"


def test_marginals_of_a_joint_head_sum_to_one():
    names = [f"{plane}-{sequence}" for plane in CLASSES["plane"] for sequence in CLASSES["sequence"]]
    proba = np.random.default_rng(0).dirichlet(np.ones(9), 20)
    both = classify.marginals({"plane-sequence": proba}, {"plane-sequence": names})
    assert {name: words for name, (words, _) in both.items()} == CLASSES
    for _, summed in both.values():
        np.testing.assert_allclose(summed.sum(axis=1), 1, atol=1e-6)


def test_unknown_model():
    with pytest.raises(RunError, match="There is no run 'nonsense'"):
        registry.find("nonsense")


def test_series_of_one_file_is_named_by_it(model, study):
    one = replace(study, table=study.table[study.table["path"] == "two/1"])
    _, series, _ = classify.classify(one)
    assert series["path"].tolist() == ["two/1"]
    assert pd.notna(series["plane_p"]).all()
