"""The label workbench, run by Streamlit's AppTest over a small workspace."""

from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core import cohort
from core.labelling import label_queue
from core.settings import get_settings
from pages.shared.components.label_keys import WORD_KEYS

PROJECT = Path(__file__).resolve().parent.parent
SECRET = "Lovelace"


@pytest.fixture(scope="module")
def scanned(tmp_path_factory, make_dataset):
    """A workspace with four series of two slices: T1, T2, and two whose header tells no sequence."""
    folder = tmp_path_factory.mktemp("workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLICESCOPE_WORKSPACE", str(folder))
        get_settings.cache_clear()
        for series, number in np.ndindex(4, 2):
            silent = {"ScanningSequence": None, "RepetitionTime": None, "EchoTime": None}
            path = folder / "raw" / f"{SECRET}{series}" / f"{number}.dcm"
            path.parent.mkdir(parents=True, exist_ok=True)
            make_dataset(
                np.full((16, 16), 100 * number, "<u2"), PatientID=f"{SECRET}-{series}", PatientName=SECRET,
                StudyInstanceUID=f"1.2.{series}", SeriesInstanceUID=f"1.2.{series}", InstanceNumber=number,
                SOPInstanceUID=f"1.2.{series}.{number}", SeriesDescription=("AX T1", "AX T2", "Head", "Head")[series],
                ImagePositionPatient=[0, 0, 5 * number],
                **({"RepetitionTime": 5000, "EchoTime": 100} if series == 1 else silent if series > 1 else {}),
            ).save_as(path, enforce_file_format=True)  # fmt: skip
        yield cohort.write(cohort.scan(folder / "raw", "small"))
    get_settings.cache_clear()


@pytest.fixture
def small(scanned):
    """The cohort, about which nobody has said anything yet, and a queue of all of it."""
    (scanned.folder / cohort.LOG_NAME).unlink(missing_ok=True)
    label_queue.write_queue(scanned, "class", [f"1.2.{series}" for series in range(4)])
    return scanned


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    """Buttons of Streamlit in place of the component's: AppTest runs no JavaScript."""

    def buttons(item, *, moves, enabled, on_press, asks, said, turn, key):
        presses = [(head, word) for head, letters in WORD_KEYS.items() for word in letters]
        for name, word in (*presses, *((move, "") for move in moves)):
            st.button(f"{name} {word}", key=f"press {name} {word}".strip(), on_click=on_press, args=(item, name, word))

    monkeypatch.setattr("pages.shared.label_item.label_keys", buttons)


def open_page(by: str = "Ada", **address: str) -> AppTest:
    """Run the page as a link would open it, and give a name."""
    app = AppTest.from_file(str(PROJECT / "app.py"), default_timeout=60)
    app.run()
    for key, value in address.items():
        app.query_params[key] = value
    app.switch_page("pages/label.py").run()
    if by:
        app.text_input(key="labeller").set_value(by).run()
    assert not app.exception, app.exception[0].message
    return app


def words(app: AppTest) -> str:
    """Everything that is written on the page."""
    kinds = ("html", "markdown", "caption", "error", "warning", "success", "info")
    texts = [
        str(getattr(e, "value", None) or getattr(e.proto, "body", "")) for kind in kinds for e in app.main.get(kind)
    ]
    return "\n".join([*texts, *(element.proto.text for element in app.main.get("progress"))])


def shown(app: AppTest) -> str:
    """The item that the address names; what the script wrote there comes back as a list."""
    item = app.query_params["item"]
    return item if isinstance(item, str) else item[0]


def press(app: AppTest, *presses: str) -> str:
    """Press keys one after the other; return the item that is shown then."""
    for name in presses:
        app.button(key=f"press {name}").click().run()
        assert not app.exception, app.exception[0].message
    return shown(app)


def answers(made) -> list[tuple]:
    return [(line["key"], line["column"], line["old"], line["new"], line["by"]) for line in cohort.read_log(made)
            if "key" in line]  # fmt: skip


def test_page_says_what_it_is_not_for_and_names_nobody(small):
    app = open_page()
    assert "<h1>Label</h1>" in words(app) and "Not for clinical use" in words(app)
    assert SECRET not in words(app)
    assert "Ada" not in str(dict(app.query_params))


def test_page_of_an_empty_workspace_says_what_to_do(workspace):
    assert "No cohort yet" in words(open_page(by=""))


def test_what_has_no_label_is_asked_first_and_one_key_goes_on(small):
    app = open_page()
    assert "Item 1 of 2 · 0 done, 2 left" in words(app)
    assert "The header gives no sequence." in words(app)
    first = shown(app)
    second = press(app, "sequence FLAIR")
    assert {first, second} == {"1.2.2", "1.2.3"}
    assert answers(small) == [(first, "sequence", None, "FLAIR", "Ada")]
    assert "1 done, 1 left" in words(app)
    press(app, "sequence T2")
    assert "All items of this queue have your answer" in words(app)


def test_without_a_name_nothing_is_labelled(small):
    app = open_page(by="")
    assert "Give your name above" in words(app)
    press(app, "sequence T1")
    assert answers(small) == []


def test_undo_and_redo_lead_back_to_the_item(small):
    app = open_page(queue="class")
    first = shown(app)
    assert press(app, "plane coronal") == first
    assert press(app, "sequence T2") != first
    assert press(app, "undo") == first
    assert label_queue.answers_by(queue_of(small), cohort.read_log(small), "Ada")["sequence"].isna().all()
    press(app, "redo")
    assert [line[1] for line in answers(small)] == ["plane", "sequence"]
    assert label_queue.answers_by(queue_of(small), cohort.read_log(small), "Ada")["done"].sum() == 1


def queue_of(made):
    keys = made.table["SOPInstanceUID"] + ":" + made.table["frame"].astype("str")
    return label_queue.named_queue(made.table.set_index(keys), label_queue.read_queue(made, "class"))


def test_header_is_accepted_skipped_items_come_last_and_arrows_only_look(small):
    app = open_page(queue="class")
    assert press(app, "next") == "1.2.1"
    assert press(app, "previous", "skip") == "1.2.1"
    assert press(app, "accept") == "1.2.2"
    assert answers(small) == [("1.2.1", "plane", "axial", "axial", "Ada"), ("1.2.1", "sequence", "T2", "T2", "Ada")]
    assert press(app, "plane axial", "sequence T1", "plane axial", "sequence T1") == "1.2.0"


def test_answer_can_be_of_the_slice_or_of_the_selection(small):
    app = open_page(queue="class")
    press(app, "select", "next", "select")
    app.segmented_control(key="scope").set_value("selection").run()
    press(app, "sequence SWI")
    assert answers(small) == [(["1.2.0", "1.2.1"], "sequence", None, "SWI", "Ada")]
    app.segmented_control(key="scope").set_value("other").run()
    press(app, "sequence PD")
    key, _, old, new, _ = answers(small)[-1]
    assert key.startswith("1.2.1.") and (old, new) == ("T2", "PD")


def test_link_reopens_queue_item_and_view(small):
    app = open_page(queue="class", item="1.2.3")
    assert shown(app) == "1.2.3" and "Item 4 of 4" in words(app)
    assert open_page(view="Queue", queue="class").dataframe[0].value["Slices"].tolist() == [2] * 4
    # Nonsense leads to the next that is to be done.
    assert shown(open_page(queue="class", item="nonsense")) == "1.2.0"


def test_blind_hides_words_until_the_answer_and_then_tells_whether_they_agree(small):
    app = open_page(queue="class", blind="true")
    assert "hidden until you have answered" in words(app)
    assert "AX T1" not in words(app) and "spin echo" not in words(app)
    assert press(app, "plane axial", "sequence T2") == "1.2.0"
    assert "AX T1" in words(app) and "header agrees" in words(app) and "header differs" in words(app)
    assert press(app, "accept") == "1.2.1"
    assert "hidden until you have answered" in words(app)


def test_others_answers_stay_hidden_until_both_are_done_or_they_are_revealed(small):
    cohort.append_label(small, "1.2.2", "sequence", None, "MRA", by="Ben")
    app = open_page(view="Log")
    assert "You have not answered yet" in words(app)
    app.toggle(key="reveal").set_value(True).run()
    assert app.dataframe[0].value["New"].tolist() == ["MRA"]
    assert "MRA" not in words(open_page(queue="class", item="1.2.2"))
    for by, word in (("Ada", "T1"), ("Ben", "T2")):
        for series in range(4):
            cohort.append_label(small, f"1.2.{series}", "plane", "axial", "axial", by=by)
            cohort.append_label(small, f"1.2.{series}", "sequence", None, word if series == 3 else "T1", by=by)
    app = open_page(view="Agreement", queue="class")
    assert {metric.value for metric in app.metric} == {"–", "4 of 4", "0.00", "3 of 4"}
    assert app.dataframe[-1].value[["Ada", "Ben"]].to_numpy().tolist() == [["T1", "T2"]]


def test_agreement_of_one_says_that_it_takes_two_and_waits_for_both(small):
    assert "This takes two people" in words(open_page(view="Agreement", queue="class"))
    for by in ("Ada", "Ben"):
        cohort.append_label(small, "1.2.2", "sequence", None, "T1", by=by)
    app = open_page(view="Agreement", queue="class")
    assert not app.metric and "compared when both are done" in words(app)
    app.toggle(key="reveal").set_value(True).run()
    assert app.metric


def test_queue_is_kept_under_a_name(small):
    app = open_page(view="Queue")
    app.text_input(key="new_queue").set_value("may").run()
    next(button for button in app.button if button.label.startswith("Keep these 2")).click().run()
    assert sorted(label_queue.read_queue(small, "may")) == ["1.2.2", "1.2.3"]
    (small.folder / "queues" / "may.json").unlink()


def test_filter_that_nothing_fits_says_so(small):
    assert "Nothing fits this filter" in words(open_page(wrong="model disagrees"))
