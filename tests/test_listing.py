"""A folder's files: each once, with what tells whether it changed."""

import os

import pytest

from core.cohorts.listing import find_files
from core.errors import InputError


def test_files_are_listed_once_and_links_out_are_left_alone(tmp_path):
    root, other = tmp_path / "root", tmp_path / "other"
    for file in (root / "b" / "2.dcm", root / "1.dcm", root / ".git" / "3.dcm", root / ".hidden", other / "secret.dcm"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    (root / "inside.dcm").symlink_to(root / "1.dcm")
    (root / "outside.dcm").symlink_to(other / "secret.dcm")
    (root / "folder").symlink_to(other, target_is_directory=True)
    os.mkfifo(root / "pipe")
    found = find_files(root)
    assert list(found) == [".hidden", "1.dcm", "b/2.dcm", "inside.dcm"]
    stat = (root / "b" / "2.dcm").stat()
    assert found["b/2.dcm"] == (1, stat.st_mtime_ns)
    assert list(find_files(root / "1.dcm")) == ["1.dcm"]
    with pytest.raises(InputError, match="neither a file nor a folder"):
        find_files(root / "gone")


def test_links_in_a_circle_and_to_nothing_are_accounted_for(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    (tmp_path / "up").symlink_to(tmp_path, target_is_directory=True)
    assert find_files(tmp_path) == {"a": (0, 0), "b": (0, 0), "gone": (0, 0)}
