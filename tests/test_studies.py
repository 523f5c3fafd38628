"""What is dropped on the Study page: safe names, limits, archives, and a status that tells the truth."""

import io
import json
import time
import zipfile

import numpy as np
import pandas as pd
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from core import bundle, inference, studies
from core.errors import InputError
from core.settings import get_settings


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("../../evil.dcm", "evil.dcm"),
        ("..\\..\\evil.dcm", "evil.dcm"),
        ("/etc/passwd", "etc/passwd"),
        ("a/../../b", "a/b"),
        ("C:\\scans\\IM0001", "C_/scans/IM0001"),
        (".hidden/.file", "hidden/file"),
        ("....//....//x", "x"),
        ("new\nline\x00.dcm", "new_line_.dcm"),
        ("", "file"),
        ("/", "file"),
        ("..", "file"),
        ("DOE^JANE/1 2", "DOE^JANE/1 2"),
    ],
)
def test_safe_name(name, safe):
    assert studies.safe_name(name) == safe


def test_safe_name_is_short_enough_for_a_file_system():
    assert max(len(part.encode()) for part in studies.safe_name("ä" * 500 + "/" + "x" * 500).split("/")) <= 120


def test_files_stay_inside_the_study(workspace):
    study = studies.create([("../../evil.dcm", io.BytesIO(b"one")), ("evil.dcm", io.BytesIO(b"two"))])
    found = sorted(path.relative_to(study.files).as_posix() for path in study.files.rglob("*"))
    assert found == ["evil-2.dcm", "evil.dcm"]
    assert not list(get_settings().workspace.glob("evil*"))
    assert study.status["state"] == "saved"


def test_archive_is_unpacked_and_what_climbs_out_is_named(workspace):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("inside/a.txt", "hello")
        file.writestr("../../outside.txt", "evil")
    archive.seek(0)
    study = studies.create([("study.zip", archive)])
    assert [path.name for path in study.files.rglob("*") if path.is_file()] == ["a.txt"]
    assert [name for name, _ in study.status["refused"]] == ["study.zip/../../outside.txt"]


def test_too_many_files_leave_nothing_behind(workspace, monkeypatch):
    monkeypatch.setenv("SLICESCOPE_MAX_UPLOAD_FILES", "2")
    get_settings.cache_clear()
    with pytest.raises(InputError, match="More than 2 files"):
        studies.create((str(n), io.BytesIO(b"x")) for n in range(3))
    assert not list(get_settings().studies_dir.iterdir())


def test_nothing_dropped(workspace):
    with pytest.raises(InputError, match="No file was dropped"):
        studies.create([])


@pytest.mark.parametrize("study_id", ["", "../cohorts", "0" * 16, "nonsense"])
def test_unknown_study(workspace, study_id):
    with pytest.raises(InputError, match="There is no study"):
        studies.open_study(study_id)


def test_study_of_a_dead_server_is_interrupted(workspace):
    study = studies.create([("a", io.BytesIO(b"x"))])
    path = study.folder / "study.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "state": "running", "pid": 2**22 + 1}))
    assert study.status["state"] == "interrupted"
    assert "server ended" in study.status["message"]


def test_removed_study_leaves_nothing(workspace):
    study = studies.create([("a", io.BytesIO(b"x"))])
    studies.remove(study)
    assert not list(get_settings().studies_dir.iterdir())
    with pytest.raises(InputError):
        studies.open_study(study.id)


def test_public_table_shows_no_real_path():
    table = pd.DataFrame({"path": ["DOE^JANE/1"], "shown_path": ["P-1/1"], "plane": ["axial"]})
    assert studies.public(table).to_dict("records") == [{"path": "P-1/1", "plane": "axial"}]


class Worker:
    """Says axial and T1 of everything, and takes everything for a brain."""

    def predict(self, folder, slices):
        def certain(names):
            return np.tile(np.eye(len(names), dtype=np.float32)[0], (len(slices), 1))

        card = bundle.read_card(folder)
        heads = {head: certain(names) for head, names in card["classes"].items()}
        brain = np.tile(10 * np.array(card["brain"]["weight"], np.float32), (len(slices), 1))
        return inference.Prediction(heads, card["classes"], brain)


def test_each_bad_file_is_named_with_its_reason_and_the_good_one_is_read(workspace, make_slice, tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "get_worker", Worker)
    good = make_slice(tmp_path / "good.dcm").read_bytes()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("note.txt", "no image")
        file.writestr("../outside.dcm", good)
        file.writestr("second.dcm", make_slice(tmp_path / "second.dcm", InstanceNumber=2).read_bytes())
    hevc = UID("1.2.840.10008.1.2.4.107")
    strange = make_slice(tmp_path / "strange.dcm", syntax=hevc, PixelData=encapsulate([b"video!"])).read_bytes()
    files = {
        "good": good,
        "words.txt": b"hello",
        "empty.dcm": b"",
        "cut.dcm": good[:-200],
        "bare.dcm": make_slice(tmp_path / "bare.dcm", PixelData=None).read_bytes(),
        "strange.dcm": strange,
        "all.zip": archive.getvalue(),
        "broken.zip": archive.getvalue()[:60],
    }
    study = studies.create((name, io.BytesIO(data)) for name, data in files.items())
    studies.start(study)
    deadline = time.monotonic() + 60
    while study.status["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert study.status["state"] == "done", study.status
    reasons = study.table("rejected").set_index("shown_path")["reason"].to_dict()
    expected = {
        "words.txt": "not a DICOM file",
        "empty.dcm": "empty",
        "cut.dcm": "cut short",
        "bare.dcm": "without pixels",
        "strange.dcm": "HEVC",
        "all/note.txt": "not a DICOM file",
        "all.zip/../outside.dcm": "leads out of the archive's folder",
        "broken.zip": "zip",
    }
    assert set(reasons) == set(expected)
    assert {name for name, words in expected.items() if words not in reasons[name]} == set()
    assert sorted(study.table("slices")["path"]) == ["all/second.dcm", "good"]
    assert study.table("series")["plane_verdict"].tolist() == ["agree"]
    # Files in = rows + rejected: what came, members of the archive counted for it.
    assert len(reasons) + study.table("slices")["path"].nunique() == len(files) - 1 + 3
