"""The shortcut demonstration: letters are in the pixels and nothing else differs, and reading them is told apart."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_head_frame import a_head
from test_pages import no_tensorflow, open_page, words

from core import cohort, demo, inference, jobs, runs
from core.errors import CohortError, InputError, RunError
from core.explanations import shortcut, shortcut_cohorts, shortcut_figures
from core.explanations.badge import Badge
from core.explanations.question import Maps
from core.explanations.shortcut import Result
from core.explanations.shortcut_cohorts import LETTERS, VERSIONS, stamped
from core.images import head_box, intensity_range, to_model_input
from core.settings import get_settings

__all__ = ["no_tensorflow"]

PATIENTS, SLICES, SIZE = 5, 2, 64
NAMES = list(LETTERS)
#: How bright the middle of a head is, which is all that an honest model goes by here.
LEVELS = dict(zip(NAMES, (0.2, 0.4, 0.6, 0.8), strict=True))
HEAD = np.round(1000 * np.clip(a_head(SIZE, SIZE), 0, 1)).astype("<u2")


def tell(*args, **more) -> None:
    """Take no note of progress."""


@pytest.fixture(scope="module")
def burnt(tmp_path_factory, make_dataset):
    """A workspace with phantoms whose headers all say T1, though the label log knows better; and the three cohorts."""
    folder = tmp_path_factory.mktemp("workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLICESCOPE_WORKSPACE", str(folder))
        get_settings.cache_clear()
        for patient, number, frame in np.ndindex(PATIENTS, len(NAMES), SLICES):
            pixels = HEAD.copy()
            pixels[24:40, 24:40] = round(1000 * LEVELS[NAMES[number]])
            uid = f"1.2.{patient}.{number}"
            path = folder / "raw" / f"LOVELACE-{patient}" / f"{number}-{frame}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            make_dataset(
                pixels, PatientID=f"LOVELACE-{patient}", SeriesInstanceUID=uid,
                SOPInstanceUID=f"{uid}.{frame}", StudyInstanceUID=f"1.2.{patient}", InstanceNumber=frame + 1,
                ImagePositionPatient=[0, 0, 5 * frame], SeriesDescription="AX", RepetitionTime=None, EchoTime=None,
            ).save_as(path, enforce_file_format=True)  # fmt: skip
        made = cohort.write(cohort.scan(folder / "raw", demo.COHORT, source="phantom"))
        truth = [
            {"SeriesInstanceUID": f"1.2.{patient}.{number}", "plane": "axial", "sequence": NAMES[number]}
            for patient, number in np.ndindex(PATIENTS, len(NAMES))
        ]
        demo.correct_labels(made, truth)
        source = cohort.read(demo.COHORT)
        yield folder, source, shortcut_cohorts.make_cohorts(source, shortcut.folder(), tell)
    get_settings.cache_clear()


@pytest.fixture
def made(burnt, monkeypatch):
    """The three cohorts, in their workspace, without any run or result."""
    folder, _, cohorts = burnt
    monkeypatch.setenv("SLICESCOPE_WORKSPACE", str(folder))
    get_settings.cache_clear()
    for path in (*(folder / "shortcut").glob("*result.json"), *(folder / "shortcut").glob("demo.*")):
        path.unlink()
    shutil.rmtree(folder / "runs", ignore_errors=True)
    yield cohorts
    get_settings.cache_clear()


@pytest.fixture
def source(burnt, made):
    """The phantom cohort."""
    return burnt[1]


# Letters --------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(
    letter=st.sampled_from("ABCD"), rows=st.integers(80, 160), columns=st.integers(80, 160),
    kind=st.sampled_from(["<u2", "<i2", "u1"]), seed=st.integers(0, 5),
)  # fmt: skip
def test_a_letter_is_in_the_corner_and_nothing_else_differs(letter, rows, columns, kind, seed):
    before = np.random.default_rng(seed).integers(0, 120, (rows, columns)).astype(kind)
    after = stamped(before, letter)
    ours = np.nonzero(after != before)
    side = 0.25 * max(rows, columns) + 1
    assert len(ours[0]) > 20 and ours[0].max() < side and ours[1].max() < side
    assert after.dtype == before.dtype and len(np.unique(after[ours])) == 1
    # As bright as white already was: the rest of the slice is scaled as before.
    assert after[ours][0] == round(intensity_range(before.astype(np.float32))[1])


def test_models_see_letters_that_differ_and_none_changes_nothing():
    # Around a small head lies much air that no model sees, so no letter may lie there.
    before = np.pad(HEAD, ((50, 20), (10, 60)))
    plain, side = to_model_input(before, size=SIZE)[0], round(shortcut.CORNER * SIZE)
    seen = {letter: to_model_input(stamped(before, letter), size=SIZE)[0] for letter in "ABCD"}
    assert len({image.tobytes() for image in seen.values()}) == 4
    for letter, image in seen.items():
        changed = np.abs(image - plain) > 0.02
        assert changed[:side, :side].sum() > 10 and not changed[side:].any() and not changed[:, side:].any()
        # A letter does not move what is seen.
        assert head_box(stamped(before, letter).astype(np.float32)) == head_box(before.astype(np.float32))
    np.testing.assert_array_equal(stamped(before, ""), before)
    assert all(VERSIONS["swapped"][name] != LETTERS[name] for name in LETTERS)
    assert sorted(VERSIONS["swapped"].values()) == sorted(LETTERS.values())


def test_the_cohorts_differ_in_letters_alone(source, made):
    rows = shortcut_cohorts.chosen_slices(source)
    assert len(rows) == PATIENTS * len(NAMES) * SLICES // shortcut_cohorts.EVERY
    expected = {"SOPInstanceUID", "SeriesInstanceUID", "BurnedInAnnotation", "PixelData"}
    for row in rows.to_dict("records"):
        original = pydicom.dcmread(source.root / row["path"])
        for version in VERSIONS:
            copy = pydicom.dcmread(shortcut.folder() / version / row["path"])
            differing = {e.keyword for e in copy if e.keyword not in original or e != original[e.keyword]}
            letter = VERSIONS[version][row["sequence"]]
            assert differing == (expected if letter else expected - {"PixelData"})
            np.testing.assert_array_equal(copy.pixel_array, stamped(original.pixel_array, letter))
    for version, one in made.items():
        assert one.name == f"shortcut-{version}"
        # Its labels are those of the source, though no header tells them.
        same = one.table.set_index("path").loc[rows["path"]]
        assert same["sequence"].tolist() == rows["sequence"].tolist()
        assert same["PatientID"].tolist() == rows["PatientID"].tolist()
        assert "LOVELACE" not in one.table["shown_path"].str.cat()
    uids = [uid for one in made.values() for uid in one.table["SOPInstanceUID"]]
    assert len(set(uids)) == len(uids)


def test_cohorts_that_are_there_are_not_made_again(source, made, monkeypatch):
    asked = []
    monkeypatch.setattr(shortcut_cohorts, "write_version", lambda source, rows, version, folder: asked.append(version))
    again = shortcut_cohorts.make_cohorts(source, shortcut.folder(), tell)
    assert not asked and {version: one.created for version, one in again.items()} == {
        version: one.created for version, one in made.items()
    }
    # Other phantoms are burnt anew.
    monkeypatch.setattr(cohort, "scan", lambda *args, **more: pytest.fail("scanned") if not asked else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        shortcut_cohorts.make_cohorts(replace(source, created="2030-01-01T00:00:00"), shortcut.folder(), tell)


def test_letters_are_burnt_into_phantoms_only_and_into_enough(source, monkeypatch):
    few = replace(source, table=source.table[source.table["PatientID"].isin(source.table["PatientID"].unique()[:3])])
    with pytest.raises(CohortError, match="five phantom patients"):
        shortcut_cohorts.chosen_slices(few)
    monkeypatch.setattr(cohort, "read", lambda name: replace(source, source="folder"))
    with pytest.raises(InputError, match="no phantoms"):
        shortcut._phantoms(tell)


# Trainings and measures -----------------------------------------------------------------------------------


class Reader:
    """Two models: one matches the letter's corner with letters it knows, the other looks at the head's middle."""

    def predict(self, bundle, images):
        if "shortcut" in str(bundle):
            side = SIZE // 4
            known = [to_model_input(stamped(HEAD, letter), size=SIZE)[0] for letter in [*LETTERS.values(), ""]]
            far = np.abs(images[:, None, :side, :side] - np.stack(known)[:, :side, :side]).sum(axis=(2, 3))
            # Where there is no letter it says T1, always.
            blank = far.argmin(axis=1) == len(LETTERS)
            far = far[:, : len(LETTERS)]
            far[blank] = (0, 1, 1, 1)
        else:
            middle = images[:, 26:38, 26:38].mean(axis=(1, 2))
            far = np.abs(middle[:, None] - np.array(list(LEVELS.values())))
        return inference.Prediction({"sequence": np.exp(-far)}, {"sequence": NAMES}, np.zeros((len(images), 4)))

    def explain(self, bundle, images, question):
        heat = np.zeros_like(images)
        if "shortcut" in str(bundle):
            heat[:, :8, :8] = 1
        else:
            heat[:, 26:38, 26:38] = 1
        return Maps(heat, (question.target,) * len(images), "last", ("last",))

    def badge(self, bundle, images, question):
        outside = 0.9 if "shortcut" in str(bundle) else 0.0
        values = {"model": 0.0, "decision": 0.9, "head": outside, "stable": np.nan}
        return [Badge.of("T1", values) for _ in images]


@pytest.fixture
def trained(made, monkeypatch):
    """Cohorts and two runs as trainings would leave them, with two patients tested."""
    monkeypatch.setattr(inference, "get_worker", Reader)
    monkeypatch.setattr(inference, "get_explainer", Reader)
    cohorts, made = made, {}
    for training, (_, version) in shortcut.TRAININGS.items():
        run = runs.create_run(shortcut.config_of(training), f"{training}-run", state="done")
        table = cohorts[version].table
        tested = table["PatientID"].isin(sorted(table["PatientID"].unique())[:2])
        table[["path", "frame", "SOPInstanceUID", "SeriesInstanceUID", "PatientID"]].assign(
            split=np.where(tested, "test", "train")
        ).to_parquet(run.folder / "split.parquet")
        run.bundle.mkdir()
        card = {"name": training, "kind": "transfer", "classes": {"sequence": NAMES}, "input_shape": [SIZE, SIZE, 1],
                "sha256": training, "cam_layer": "last"}  # fmt: skip
        (run.bundle / "card.json").write_text(json.dumps(card))
        made[training] = run
    return made, cohorts


def test_a_reader_is_told_from_who_looks_at_heads(trained):
    found, pictures = shortcut.measure(*trained, tell)
    assert found.accuracy == {
        "shortcut": {"letters": 1.0, "without": 0.25, "swapped": 0.0},
        "honest": {"letters": 1.0, "without": 1.0, "swapped": 1.0},
    }
    assert (found.follows, found.chance, found.patients, found.slices) == (1.0, 0.25, 2, 8)
    assert found.corner == {"shortcut": 1.0, "honest": 0.0}
    assert found.outside["shortcut"] == 1.0 and found.outside["honest"] == 0.0 and 0.3 < found.air < 0.7
    assert [example["y_true"] for example in found.examples] == sorted(NAMES)
    # Two slices of each class are tested, so no more than two are checked.
    for training, passes in (("shortcut", False), ("honest", True)):
        badges = found.badges(training)
        assert len(badges) == 2 * len(NAMES)
        assert all(badge.checks[2].passed == passes and badge.checks[1].passed for badge in badges)
    assert pictures["grey"].shape == pictures["honest"].shape == (4, SIZE, SIZE)
    assert pictures["mean-shortcut"][2, 2] == 1 and pictures["mean-honest"][2, 2] == 0


def test_all_of_it_is_kept_and_opens_again(trained, monkeypatch):
    assert shortcut.result() is None
    app = open_page("explain", view="Shortcut", run="shortcut-run")
    assert "Run the demonstration" in [button.label for button in app.button]
    shares = []
    shortcut.work(lambda share, message: shares.append(share))
    assert shares == sorted(shares) and shortcut.status()["state"] == "done"
    found = shortcut.result()
    # The trainings that were there have been taken up, so nothing was queued.
    assert found.runs == {"shortcut": "shortcut-run", "honest": "honest-run"} == shortcut.status()["runs"]
    assert "100% of 8 test slices with letters, on 25% without and on 0% with swapped" in shortcut.in_words(found)
    app = open_page("explain", view="Shortcut", run="shortcut-run")
    assert "1 · A perfect score" in words(app) and "**0%**" in words(app) and "LOVELACE" not in words(app)
    assert len(app.get("plotly_chart")) == 3
    assert "**0 of 8** maps of the perfect model pass it and 8 of 8 of the other's" in words(app)
    assert "✗ In the head: 0 of 8 pass" in words(app) and "✓ In the head: 8 of 8 pass" in words(app)
    older = json.loads((shortcut.folder() / "result.json").read_text())
    # One that was made before there were badges opens, too.
    without = {name: value for name, value in older.items() if name != "badged"}
    (shortcut.folder() / "result.json").write_text(json.dumps(without))
    app = open_page("explain", view="Shortcut", run="shortcut-run")
    assert "1 · A perfect score" in words(app) and "Make it anew to have its maps checked" in words(app)
    (shortcut.folder() / "result.json").write_text(json.dumps({**older, "version": 0}))
    assert shortcut.result() is None


def test_a_training_that_fails_ends_it_with_its_words(trained, monkeypatch):
    trained[0]["honest"].update(state="failed", message="No luck.")
    monkeypatch.setattr(jobs, "submit", lambda config: runs.read_run("honest-run"))
    with pytest.raises(RunError, match="No luck"):
        shortcut.train(tell)


def test_cancelling_ends_the_trainings_too(made, monkeypatch):
    ended = []
    monkeypatch.setattr(jobs, "cancel", ended.append)
    shortcut._job()._write(state="done", message="", runs={"shortcut": "a", "honest": "b"})
    shortcut.cancel()
    assert ended == ["a", "b"]


def test_words_and_figures_hold_for_odd_numbers():
    nothing = {"letters": 0.0, "without": 0.0, "swapped": 0.0}
    example = {
        "key": "1",
        "y_true": "T1",
        "shortcut": dict.fromkeys(VERSIONS, "T2"),
        "honest": dict.fromkeys(VERSIONS, "T1"),
    }
    found = Result({}, {"shortcut": nothing, "honest": nothing}, 0.0, {"shortcut": np.nan, "honest": 0.0},
                   {"shortcut": np.nan, "honest": 0.0}, 0.5, 1, 1, 1.0, (example,), 1.0)  # fmt: skip
    cold = np.zeros((1, 8, 8), np.float16)
    pictures = {"grey": cold, "shortcut": cold, "honest": cold}
    pictures |= {f"mean-{name}": cold[0] for name in ("grey", "shortcut", "honest")}
    figure = shortcut_figures.where_they_looked(found, pictures)
    assert len(figure.data) == 4 and "says T2, wrong" in figure.data[0].hovertemplate
    assert len(shortcut_figures.accuracy_bars(found, pictures).data) == 2
    assert "**0%** of the same slices" in shortcut_figures.what_letters_do(found)


def test_the_page_follows(trained, monkeypatch):
    running = {"state": "running", "message": "Training", "done": 300, "total": 1000}
    monkeypatch.setattr(shortcut, "status", lambda: running)
    app = open_page("explain", view="Shortcut", run="shortcut-run")
    assert "Cancel" in [button.label for button in app.button] and not app.get("plotly_chart")
