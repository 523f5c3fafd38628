"""Archives are indexed as they are: unpacked once, refused members listed, every member accounted for."""

import os
import tarfile
import zipfile

import pytest

from core import cohort
from core.labelling import label_overrides
from core.reading import archives
from core.sandbox import Sandbox


@pytest.fixture
def packed(workspace, tmp_path, make_slice):
    """Give ``packed(suffix) -> path``: three slices, a note, a nested archive and a name that climbs."""

    def pack(suffix):
        files = [make_slice(tmp_path / f"{n}.dcm", ImagePositionPatient=[0, 0, 5 * n]) for n in range(3)]
        (tmp_path / "note.txt").write_text("no image")
        (tmp_path / "inner.zip").write_bytes(b"PK\x03\x04")
        members = [(f"HOSP-48151623/{f.name}", f) for f in files]
        members += [("note.txt", tmp_path / "note.txt"), ("inner.zip", tmp_path / "inner.zip")]
        members += [("../HOSP-48151623-evil.dcm", files[0])]
        path = tmp_path / f"export{suffix}"
        if suffix == ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                for name, file in members:
                    archive.write(file, name)
        else:
            with tarfile.open(path, "w:gz") as archive:
                for name, file in members:
                    archive.add(file, name)
        return path

    return pack


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_files_in_are_rows_and_rejected_and_nobody_is_named(packed, suffix):
    path = packed(suffix)
    made = cohort.write(cohort.scan(path, "c"))
    reasons = dict(zip(made.rejected["path"], made.rejected["reason"], strict=True))
    assert set(reasons) == {"note.txt", "inner.zip", "../HOSP-48151623-evil.dcm"}
    assert "leads out" in reasons["../HOSP-48151623-evil.dcm"] and "inside an archive" in reasons["inner.zip"]
    assert (made.n_files, len(made.table)) == (6, 3)
    assert made.root == archives.root_of(path)
    assert all((made.root / p).exists() for p in made.table["path"])
    shown = [*made.table["shown_path"], *made.rejected["shown_path"]]
    assert not any("48151623" in text for text in shown)


def test_a_second_scan_unpacks_and_reads_nothing_and_a_changed_archive_is_unpacked_anew(packed, monkeypatch):
    path = packed(".zip")
    first = cohort.write(cohort.scan(path, "c"))
    asked = []
    for name in ("read_slices", "unpack"):
        real = getattr(Sandbox, name)
        monkeypatch.setattr(Sandbox, name, lambda self, *args, real=real: asked.append(args[0]) or real(self, *args))
    for again in (cohort.scan(path, "c", previous=first), cohort.index(path, "c")):
        assert asked == [] and len(again.rejected) == 3
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.txt", "no image")
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    third = cohort.scan(path, "c", previous=first)
    assert asked[0] == path.resolve() and third.n_files == 7


def test_an_archive_that_is_cut_short_keeps_what_came_out_and_is_rejected_itself(packed):
    path = packed(".tar.gz")
    path.write_bytes(path.read_bytes()[:-60])
    made = cohort.scan(path, "c")
    assert "export.tar.gz" in set(made.rejected["path"])
    assert "damaged" in made.rejected.set_index("path").loc["export.tar.gz", "reason"]


def test_what_only_looks_like_an_archive_is_one_rejected_file(workspace, tmp_path):
    (tmp_path / "note.zip").write_text("no archive")
    made, _ = label_overrides.index(tmp_path / "note.zip", "c")
    assert (made.n_files, len(made.table)) == (1, 0)
    assert "neither a zip nor a tar" in made.rejected["reason"][0]


def test_an_archive_inside_a_folder_is_rejected_with_what_to_do(packed):
    path = packed(".zip")
    made = cohort.scan(path.parent, "c")
    assert "index a zip or tar.gz by itself" in made.rejected.set_index("path").loc["export.zip", "reason"]
