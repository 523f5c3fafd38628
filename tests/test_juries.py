"""Named juries: called from examples, tried on others, kept and refused, asked by the command line and the page."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from core import cohort, inference, runs
from core.__main__ import main
from core.cohorts.slice_table import slice_keys
from core.config import RunConfig
from core.errors import BundleError, CohortError, InputError
from core.explanations import juries, jury_making
from core.explanations.jury import Jury
from core.explanations.jury_columns import JURY_COLUMNS
from core.publishing import registry
from core.settings import get_settings

CLASSES = {"plane": ["axial", "coronal"], "sequence": ["T1", "T2"]}


class Worker:
    """Sees how bright the upper and the lower half of a slice is, and says T1 of all."""

    def predict(self, folder, images):
        n = len(images)
        halves = images.reshape(n, 2, -1).mean(axis=2)
        said = np.tile(np.array([[0.75, 0.25]], np.float32), (n, 1))
        return inference.Prediction(dict.fromkeys(CLASSES, said), CLASSES, halves.astype(np.float32))


@pytest.fixture(scope="module")
def indexed(tmp_path_factory, make_dataset):
    """Six patients; T1 is bright above, T2 below, and each has a series that is bright on both sides."""
    folder = tmp_path_factory.mktemp("workspace")
    root, rng = folder / "export", np.random.default_rng(0)
    timing = ({"RepetitionTime": 500, "EchoTime": 12}, {"RepetitionTime": 4000, "EchoTime": 100}, {})
    for patient, kind, number in np.ndindex(6, 3, 5):
        path = root / f"Doe-{patient}" / f"{kind}-{number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 120, (32, 32)).astype("<u2")
        pixels[:16] += 900 * (kind in (0, 2))
        pixels[16:] += 900 * (kind in (1, 2))
        pixels[0, :8], pixels[1, :8] = 0, 1000
        words = {
            "PatientID": f"Doe-{patient}", "SeriesInstanceUID": f"1.{patient}.{kind}", "InstanceNumber": number,
            "SOPInstanceUID": f"1.{patient}.{kind}.{number}", "ImagePositionPatient": [0, 0, 5 * number],
            "SeriesDescription": ("AX T1", "AX T2", "something")[kind], **timing[kind],
        }  # fmt: skip
        make_dataset(pixels, **words).save_as(path, enforce_file_format=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLICESCOPE_WORKSPACE", str(folder))
        get_settings.cache_clear()
        scanned = cohort.scan(root, "made")
        known = ~scanned.table["SeriesInstanceUID"].str.endswith(".2")
        table = scanned.table.assign(sequence=scanned.table["sequence"].where(known))
        made = cohort.write(replace(scanned, table=table))
        yield made, add_run(made, "one")
    get_settings.cache_clear()


@pytest.fixture
def made(indexed, monkeypatch):
    """The cohort; juries of the test before are gone."""
    monkeypatch.setattr(inference, "get_worker", Worker)
    for model in (runs.SHIPPED, "one"):
        shutil.rmtree(juries.folder(model), ignore_errors=True)
    return indexed[0]


@pytest.fixture
def model(indexed):
    return indexed[1]


def add_run(made, name):
    """Write a run of the cohort, whose split leaves patients for the trial."""
    run = runs.create_run(RunConfig(name, "siamese", "made"), name)
    run.bundle.mkdir()
    card = {"name": name, "kind": "siamese", "classes": CLASSES, "input_shape": [32, 32, 1], "sha256": "a" * 64,
            "unsure_below": {}}  # fmt: skip
    (run.bundle / "card.json").write_text(json.dumps(card))
    patients = sorted(made.table["PatientID"].unique())
    parts = dict(zip(patients, ["train"] * 3 + ["validation"] * 2 + ["test"], strict=True))
    rows = made.table[made.table["sequence"].notna()]
    split = rows[["SOPInstanceUID", "frame", "PatientID"]].assign(split=rows["PatientID"].map(parts))
    split.to_parquet(run.folder / "split.parquet")
    run.update(state="done")
    return registry.find(name)


def examples(made, kinds, patients=2, each=1):
    """Keys of slices of a few patients to their class, by the number of the series."""
    keys, chosen = slice_keys(made.table), {}
    names = sorted(made.table["PatientID"].unique())[:patients]
    for kind, label in kinds.items():
        for patient in names:
            mine = (made.table["PatientID"] == patient) & made.table["SeriesInstanceUID"].str.endswith(f".{kind}")
            chosen |= dict.fromkeys(keys[mine][:each], label)
    return chosen


def test_drawn_from_training_patients_and_tried_on_validation(made, model):
    jury = jury_making.make("five", model, made, by="patient", size=3)
    split = runs.read_run("one").split()
    training = set(split.loc[split["split"] == "train", "PatientID"])
    assert jury.jury.classes == ("T1", "T2") and len(jury.jury.labels) == 6
    # One of each patient before anybody's second.
    assert set(jury.jury.patients[:3]) == set(jury.jury.patients[3:]) == training
    assert jury.trial.how == "20 validation slices (2 patients)" and jury.facts["accuracy"] == 1
    assert jury.threshold == 0 and jury.reached
    assert jury.jury.pictures.shape[0] == 6 and jury.jury.pictures.max() > 0
    again = jury_making.make("five", model, made, by="patient", size=3)
    assert again.jury.keys == jury.jury.keys
    assert jury_making.make("five", model, made, by="patient", size=3, random_state=1).jury.keys != jury.jury.keys
    typical = jury_making.make("typical", model, made, by="medoids", size=2)
    assert set(typical.jury.patients) <= training and typical.jury.classes == ("T1", "T2")


def test_a_new_class_of_a_few_examples(made, model):
    jury = jury_making.make("both", model, made, examples(made, {2: "both sides"}), by="patient", size=3)
    assert jury.jury.classes == ("T1", "T2", "both sides")
    assert jury.chosen == "drawn at random, spread over patients and chosen by hand"
    # No label tells of such a class, so it is tried on its own references.
    assert "its own references" in jury.trial.how and jury.facts["accuracy"] == 1
    keys = list(examples(made, {2: "x"}, patients=6))[2:]
    vectors = jury_making._embed(model, made, made.table[slice_keys(made.table).isin(keys)], lambda done, total: None)
    said, proba, abstains = jury.ask(vectors)
    assert {jury.jury.classes[at] for at in said.winner} == {"both sides"} and not abstains.any()
    np.testing.assert_allclose(proba.sum(axis=1), 1)


def test_what_is_left_out_of_a_trial_on_itself():
    e = np.array([[1, 0], [1, 0], [0, 1], [0, 1], [1, 1]]) / np.sqrt([[1], [1], [1], [1], [2]])
    jury = Jury(("a", "b", "c"), tuple("aabbc"), tuple("pqprr"), tuple("12345"), e, np.zeros((5, 1, 1), np.uint8))
    trial = jury_making.left_out(jury)
    # Class c has one reference: nothing to try it with, so it is no question; but it may be a wrong answer.
    assert trial.truths.tolist() == [0, 0, 1, 1]
    assert np.isnan(trial.cosines).tolist() == [
        [True, False, True, False, False], [False, True, False, False, False],
        [True, False, True, False, False], [False, False, False, True, True],
    ]  # fmt: skip
    lonely = replace(jury, patients=("p",) * 5)
    assert np.isnan(jury_making.left_out(lonely).cosines).sum() == 4
    assert "too few patients" in jury_making.left_out(lonely).how


def test_it_abstains_where_its_trial_says_so():
    e = np.eye(2)
    jury = Jury(("a", "b"), ("a", "b"), ("p", "q"), ("1", "2"), e, np.zeros((2, 1, 1), np.uint8))
    cosines = np.array([[0.9, 0.1], [0.2, 0.8], [0.5, 0.45], [0.4, 0.5]] * 5)
    trial = juries.Trial(cosines, np.array([0, 1, 1, 0] * 5), "20 slices")
    plain = juries.NamedJury("x", jury, "shipped", "0", "c", "by hand", trial=trial)
    strict = juries.ruled(plain, "mean", 5, 0.95)
    assert strict.threshold == pytest.approx(0.6) and strict.reached
    assert strict.facts["accuracy"] == 0.5 and strict.facts["kept"] == 0.5 and strict.facts["accuracy of those"] == 1
    assert strict.ask(np.array([[1.0, 0.0], [1.0, 0.9]]))[2].tolist() == [False, True]
    never = juries.ruled(replace(plain, trial=replace(trial, truths=1 - trial.truths)), "mean", 5, 0.95)
    assert never.threshold == 0 and not never.reached
    with pytest.raises(InputError, match=r"from 0\.5 to 1"):
        juries.ruled(plain, "mean", 5, 1.5)


def test_kept_with_the_run_and_read_again(made, model):
    jury = jury_making.make("kept", model, made, by="patient", vote="majority", k=3)
    juries.save(jury)
    again = juries.read("kept", model)
    for field in ("name", "model", "sha256", "cohort", "vote", "k", "threshold", "temperature", "chosen", "created"):
        assert getattr(again, field) == getattr(jury, field)
    np.testing.assert_array_equal(again.jury.embeddings, jury.jury.embeddings)
    np.testing.assert_array_equal(again.trial.cosines, jury.trial.cosines)
    assert again.jury.keys == jury.jury.keys and again.facts == jury.facts
    assert [path.name for path in juries.folder("one").iterdir()] == ["kept.npz"]
    assert "Doe" not in str([again.jury.patients, again.jury.keys, again.facts])
    assert juries.names("one") == ["kept"] and juries.find("kept")[0].id == "one"
    juries.remove("kept", "one")
    assert juries.names("one") == [] and list(juries.every()) == []


def test_the_shipped_models_juries_outlive_its_run(made):
    shipped = registry.find(runs.SHIPPED)
    juries.save(jury_making.make("mine", shipped, made, by="patient", size=1))
    assert juries.folder(runs.SHIPPED).parent == get_settings().workspace
    assert juries.find("mine")[1].model == runs.SHIPPED


def test_another_models_jury_is_refused(made, model):
    juries.save(jury_making.make("old", model, made, by="patient", size=1))
    with pytest.raises(BundleError, match="Jury 'old' was made for another model"):
        juries.read("old", replace(model, card={**model.card, "sha256": "b" * 64}))
    (juries.folder("one") / "bad.npz").write_bytes(b"PK nonsense")
    with pytest.raises(BundleError, match="cannot be read"):
        juries.read("bad", model)
    np.savez(juries.folder("one") / "evil.npz", facts=np.array([{}], dtype=object))
    with pytest.raises(BundleError, match="cannot be read"):
        juries.read("evil", model)
    assert sum(isinstance(one, BundleError) for one in juries.every()) == 2


@pytest.mark.parametrize("name", ["../one", "a/b", "", ".x", "x" * 41])
def test_names_cannot_leave_the_folder(made, model, name):
    for act in (lambda: juries.read(name, model), lambda: juries.remove(name, "one"), lambda: juries.find(name)):
        with pytest.raises(CohortError, match="A jury's name has"):
            act()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"picked": {"9.9:0": "T1"}}, "has no slice '9.9:0'"),
        ({"by": None}, "two classes or more"),
        ({"by": "chance"}, "drawn by own or patient or medoids"),
        ({"by": "own"}, "no jury.npz"),
        ({"by": "patient", "head": "colour"}, "plane, sequence, plane-sequence"),
        ({"by": "patient", "vote": "loudest"}, "A vote is by"),
        ({"by": "patient", "head": "plane"}, "received 5 slices of axial"),
    ],
)
def test_juries_that_cannot_be(made, model, change, says):
    with pytest.raises((InputError, BundleError), match=says):
        jury_making.make("x", model, made, **change)


@pytest.mark.parametrize("label", ["", " ", "a" * 41, "<b>", "a\nb"])
def test_labels_that_are_no_words(label):
    with pytest.raises(InputError, match="A class is named by"):
        juries.check_label(label)
    assert juries.check_label(" T2* (body coil) ") == "T2* (body coil)"


# The command line -------------------------------------------------------------------------------------


def test_classify_with_a_jury_of_a_new_class(made, model, tmp_path, capsys, monkeypatch):
    table = pd.DataFrame(examples(made, {0: "T1", 1: "T2", 2: "both sides"}).items(), columns=["key", "label"])
    table.to_csv(tmp_path / "examples.csv", index=False)
    assert main(["jury", "make", "both", "--model", "one", "--from", str(tmp_path / "examples.csv")]) == 0
    assert "T1, T2, both sides" in capsys.readouterr().out
    out, series_out = tmp_path / "slices.csv", tmp_path / "series.csv"
    ask = ["classify", str(made.root), "--out", str(out), "--series-out", str(series_out)]
    assert main([*ask, "--model", "one"]) == 0
    plain = pd.read_csv(out), pd.read_csv(series_out)
    assert main([*ask, "--model", "one", "--jury", "both"]) == 0
    assert "Jury both of one votes for T1, T2, both sides; it abstains on 0 slices." in capsys.readouterr().out
    for before, path in zip(plain, (out, series_out), strict=True):
        after = pd.read_csv(path)
        # The contract's columns stay, in their order; the jury's come last.
        assert list(after) == [*before, *JURY_COLUMNS]
        assert set(after["sequence"]) == {"T1"}
        of = after["SeriesInstanceUID"].str[-1].astype(int)
        assert (after["jury"] == of.map({0: "T1", 1: "T2", 2: "both sides"})).all()
        assert after["jury_p"].between(0, 1).all() and (after["jury_margin"] > 0).all()
        assert not after["jury_abstains"].any()
    assert main(["jury"]) == 0 and "both" in capsys.readouterr().out
    assert main(["jury", "remove", "both", "--model", "one"]) == 0
    assert main(["jury", "list"]) == 0 and "No jury yet" in capsys.readouterr().out


def test_a_jury_is_silent_about_what_is_no_brain(made, model):
    from core import classify

    jury = jury_making.make("x", model, made, by="patient")

    class Blind(Worker):
        def predict(self, folder, images):
            return replace(super().predict(folder, images), embeddings=np.zeros((len(images), 2), np.float32))

    card = {**model.card, "brain": {"weight": [0.0, 0.0], "bias": -9.0, "below": 0.5}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("core.bundle.read_card", lambda folder: card)
        patch.setattr(inference, "get_worker", Blind)
        slices, series, _ = classify.classify(made, "one", jury=jury)
    assert slices["jury_abstains"].all() and series["jury_abstains"].all()
    empty, none, _ = classify.classify(replace(made, table=made.table.iloc[:0]), "one", jury=jury)
    assert list(empty)[-4:] == list(none)[-4:] == list(JURY_COLUMNS)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["classify", "there", "--jury", "nobody"], "has no jury 'nobody'"),
        (["jury", "make", "x"], "Say whose slices"),
        (["jury", "make", "x", "--from", "none.csv"], "none.csv cannot be read"),
        (["jury", "remove", "x"], "has no jury 'x'"),
    ],
)
def test_one_line_says_what_is_wrong(made, capsys, arguments, says):
    assert main(arguments) == 2
    assert says in capsys.readouterr().err.strip().splitlines()[-1]


def test_tables_of_examples_are_checked(made, model, tmp_path, capsys):
    path = tmp_path / "e.csv"
    for text, says in (("a,b\n1,2\n", "needs the columns key"), ("key,label\n1:0,T1\n1:0,T2\n", "more than once")):
        path.write_text(text)
        assert main(["jury", "make", "x", "--model", "one", "--from", str(path)]) == 2
        assert says in capsys.readouterr().err
    table = pd.DataFrame(examples(made, {0: "T1", 1: "T2"}).items(), columns=["key", "label"])
    table[["SOPInstanceUID", "frame"]] = table.pop("key").str.split(":", expand=True)
    table.to_csv(path, index=False)
    assert main(["jury", "make", "x", "--model", "one", "--from", str(path)]) == 0
    assert main(["jury", "make", "x", "--model", "one", "--from", str(path)]) == 2
    assert "--replace" in capsys.readouterr().err


def test_a_name_that_two_models_have_must_be_told_apart(made, model):
    juries.save(jury_making.make("same", model, made, by="patient", size=1))
    try:
        juries.save(jury_making.make("same", add_run(made, "two"), made, by="patient", size=1))
        with pytest.raises(InputError, match="one, two each have a jury 'same'"):
            juries.find("same")
        assert juries.find("same", "two")[0].id == "two"
    finally:
        shutil.rmtree(runs.read_run("two").folder)
