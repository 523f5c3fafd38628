"""Files of all kinds become slices that show the patient the same way round; archives become files and nothing else."""

import gzip
import io
import os
import stat
import tarfile
import zipfile
from contextlib import nullcontext

import nibabel
import numpy as np
import pytest
from PIL import Image

from core import images, sources
from core.errors import UnreadableFile
from core.settings import get_settings


def reason(path):
    with pytest.raises(UnreadableFile) as caught:
        sources.read_headers(path)
    text = str(caught.value)
    assert str(path.parent) not in text and text.endswith(".")
    return text


# NIfTI ----------------------------------------------------------------------------------------------

#: Sides of the made volumes, right-left, front-back and up-down; no two are alike.
SHAPE_MM = (40, 50, 60)
AXES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


def write_volume(path, codes, zooms, oblique=0.0):
    """Write a volume whose voxel axes run towards `codes` and whose values are x + 100 y + 10,000 z in mm, RAS."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    shape = []
    for voxel_axis, (code, zoom) in enumerate(zip(codes, zooms, strict=True)):
        world, sign = AXES[code]
        shape.append(int(SHAPE_MM[world] / zoom))
        affine[world, voxel_axis] = sign * zoom
        affine[world, 3] = -sign * SHAPE_MM[world] / 2
    if oblique:
        c, s = np.cos(oblique), np.sin(oblique)
        affine = np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]]) @ affine
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    world = grid @ affine[:3, :3].T + affine[:3, 3]
    nibabel.save(nibabel.Nifti1Image((world @ [1, 100, 10000]).astype(np.float32), affine), path)
    return affine


def world_of(header, row, column):
    """Where a pixel lies by the header's own geometry, RAS in mm."""
    along, down = np.array(header["ImageOrientationPatient"][:3]), np.array(header["ImageOrientationPatient"][3:])
    spacing = header["PixelSpacing"]
    lps = np.array(header["ImagePositionPatient"]) + along * spacing[1] * column + down * spacing[0] * row
    return lps * [-1, -1, 1]


@pytest.mark.parametrize(
    ("codes", "zooms", "plane"),
    [
        ("RAS", (1, 1, 4), "axial"),
        ("LPS", (1, 1, 4), "axial"),
        ("LAI", (1, 1, 4), "axial"),
        ("PIR", (1, 1, 4), "sagittal"),
        ("ASL", (1, 1.2, 4), "sagittal"),
        ("RSA", (1, 1, 5), "coronal"),
        ("LIP", (1, 1, 5), "coronal"),
        ("ARS", (1, 1, 4), "axial"),
        ("RAS", (4, 1, 1), "sagittal"),
        ("RAS", (1, 1, 1), "axial"),
    ],
)
@pytest.mark.parametrize("oblique", [0.0, 0.2])
def test_nifti_slices_lie_as_radiologists_look_at_them(tmp_path, codes, zooms, plane, oblique):
    path = tmp_path / "v.nii.gz"
    write_volume(path, codes, zooms, oblique)
    headers = sources.read_headers(path)
    letters = {"axial": "RLAP", "coronal": "RLSI", "sagittal": "APSI"}[plane]
    got = images.orientation_letters(headers[0]["ImageOrientationPatient"])
    assert "".join(got[side][0] for side in ("left", "right", "top", "bottom")) == letters
    for frame in {0, len(headers) // 2, len(headers) - 1}:
        header, pixels = headers[frame], sources.read_pixels(path, frame)
        assert pixels.shape == (header["Rows"], header["Columns"])
        # The geometry that is told is that of the voxels: each value says where it lies.
        for row, column in ((0, 0), (pixels.shape[0] - 1, 2), (3, pixels.shape[1] - 1)):
            assert pixels[row, column] == pytest.approx(world_of(header, row, column) @ [1, 100, 10000], abs=0.5)
    assert [h["frame"] for h in headers] == list(range(len(headers)))


def test_a_thin_slab_is_cut_across_its_thinnest_side(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((10, 60, 60), np.float32), np.eye(4)), tmp_path / "slab.nii")
    assert len(sources.read_headers(tmp_path / "slab.nii")) == 10


def test_of_many_volumes_the_first_is_read_and_said(tmp_path):
    data = np.stack([np.full((5, 6, 4), 7.0), np.full((5, 6, 4), 9.0)], -1).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([1, 1, 4, 1])), tmp_path / "run.nii")
    headers = sources.read_headers(tmp_path / "run.nii")
    assert (len(headers), headers[0]["note"]) == (4, "the first of 2 volumes is read, no mean is taken")
    assert sources.read_pixels(tmp_path / "run.nii", 3).max() == 7
    with pytest.raises(UnreadableFile, match="4 slices; slice 4"):
        sources.read_pixels(tmp_path / "run.nii", 4)


def test_stored_scaling_is_applied(tmp_path):
    image = nibabel.Nifti1Image(np.arange(8, dtype=np.int16).reshape(2, 2, 2), np.eye(4))
    image.header.set_slope_inter(2.0, 10.0)
    nibabel.save(image, tmp_path / "scaled.nii")
    values = np.concatenate([sources.read_pixels(tmp_path / "scaled.nii", i).ravel() for i in range(2)])
    np.testing.assert_array_equal(np.sort(values), np.asarray(nibabel.load(tmp_path / "scaled.nii").dataobj).ravel())


def test_nifti_files_that_cannot_be_read(tmp_path):
    write_volume(tmp_path / "v.nii.gz", "RAS", (1, 1, 1))
    whole = (tmp_path / "v.nii.gz").read_bytes()
    (tmp_path / "short.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "plain.nii").write_bytes(gzip.decompress(whole)[:5000])
    (tmp_path / "text.nii.gz").write_text("no volume")
    (tmp_path / "text.nii").write_text("no volume")
    (tmp_path / "none.nii").write_bytes(b"")
    for name in ("short.nii.gz", "plain.nii", "text.nii.gz", "text.nii", "none.nii"):
        assert reason(tmp_path / name)
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4)), np.eye(4))
    image.header.set_data_shape((20000, 20000, 20000))
    (tmp_path / "bomb.nii").write_bytes(image.header.binaryblock + bytes(400))
    assert "voxels" in reason(tmp_path / "bomb.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4), np.float32), np.eye(4)), tmp_path / "flat.nii")
    assert "three axes" in reason(tmp_path / "flat.nii")


# Pictures and the door ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16", "1"])
def test_pictures_of_every_mode(tmp_path, mode):
    grey = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20)
    (grey.convert(mode) if mode != "I;16" else Image.fromarray(np.arange(12, dtype=np.uint16).reshape(3, 4))).save(
        tmp_path / "a.png"
    )
    (header,) = sources.read_headers(tmp_path / "a.png")
    assert (header["kind"], header["Rows"], header["Columns"]) == ("picture", 3, 4)
    pixels = sources.read_pixels(tmp_path / "a.png")
    assert pixels.shape == (3, 4) and pixels.dtype == np.float32 and np.ptp(pixels) > 0


def test_pictures_that_cannot_be_read(tmp_path, monkeypatch):
    Image.effect_noise((64, 64), 50).save(tmp_path / "a.jpg")
    whole = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "short.jpg").write_bytes(whole[: len(whole) // 2])
    assert "cut short" in reason(tmp_path / "short.jpg")
    (tmp_path / "stub.jpg").write_bytes(whole[:12])
    assert "PNG or JPEG" in reason(tmp_path / "stub.jpg")
    monkeypatch.setenv("SLICESCOPE_MAX_SLICE_PIXELS", "1000")
    get_settings.cache_clear()
    assert "64 × 64 pixels; at most 1000" in reason(tmp_path / "a.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # Pillow's own limit is twice that
    assert "far more pixels" in reason(tmp_path / "a.jpg")
    monkeypatch.undo()
    get_settings.cache_clear()


def test_what_is_not_looked_into(tmp_path, make_slice):
    assert "DICOMDIR" in reason(make_slice(tmp_path / "DICOMDIR"))
    assert "hidden" in reason(make_slice(tmp_path / ".a.dcm"))
    assert "cannot be opened" in reason(tmp_path / "gone.dcm")


# Archives -------------------------------------------------------------------------------------------


def tree(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def limits(monkeypatch):
    def set_limits(**values):
        for name, value in values.items():
            monkeypatch.setenv(f"SLICESCOPE_{name.upper()}", str(value))
        get_settings.cache_clear()

    yield set_limits
    get_settings.cache_clear()


def make_zip(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, data in members:
            pack.writestr(name, data)
    return path


def make_tar(path, members):
    with tarfile.open(path, "w:gz") as pack:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            pack.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_members_that_lead_out_are_refused_and_the_others_kept(tmp_path, make):
    members = [
        ("a/1.dcm", b"one"), ("../evil", b"x"), ("a/../../evil", b"x"), ("/etc/evil", b"x"), ("..\\evil", b"x"),
        ("C:\\evil", b"x"), ("a/1.dcm/2", b"x"), ("a/1.dcm", b"again"), ("in.zip", b"x"), ("b.tar.gz", b"x"),
        ("v.nii.gz", b"volume"), ("x" * 250, b"x"),
    ]  # fmt: skip
    into = tmp_path / "deep" / "into"
    with pytest.warns(UserWarning) if make is make_zip else nullcontext():
        archive = make(tmp_path / "archive", members)
    refused = sources.unpack_archive(archive, into)
    assert tree(into) == {"a/1.dcm": b"one", "v.nii.gz": b"volume"}
    assert len(refused) == len(members) - 2
    assert all(text.endswith(".") and str(tmp_path) not in text for _, text in refused)
    assert not list(tmp_path.rglob("evil"))
    assert "archive inside an archive" in dict(refused)["in.zip"]


def test_links_and_devices_in_archives_are_refused(tmp_path):
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as pack:
        for name, kind in (("soft", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("node", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            pack.addfile(info)
    assert [name for name, _ in sources.unpack_archive(archive, tmp_path / "tar")] == ["soft", "hard", "node"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as pack:
        info = zipfile.ZipInfo("soft")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        pack.writestr(info, "/etc/passwd")
    assert "link" in dict(sources.unpack_archive(tmp_path / "a.zip", tmp_path / "zip"))["soft"]
    assert not list(tmp_path.glob("tar/*")) and not list(tmp_path.glob("zip/*"))


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_bombs_stop_at_the_limit(tmp_path, make, limits):
    limits(max_upload_mb=2)
    archive = make(tmp_path / "bomb", [("small", b"s"), ("big", bytes(50 << 20)), ("big2", bytes(50 << 20))])
    assert archive.stat().st_size < 1 << 20
    refused = dict(sources.unpack_archive(archive, tmp_path / "into"))
    assert tree(tmp_path / "into") == {"small": b"s"}
    assert set(refused) == {"big", "big2"}
    assert all("2 MB" in text for text in refused.values())


def test_an_archive_may_use_all_the_room_there_is(tmp_path, limits):
    limits(max_upload_mb=1)
    assert sources.unpack_archive(make_zip(tmp_path / "a.zip", [("a", bytes(1 << 20))]), tmp_path / "into") == []


def test_too_many_members_stop_the_unpacking(tmp_path, limits):
    limits(max_upload_files=3)
    archive = make_zip(tmp_path / "a.zip", [(f"{i}", b"x") for i in range(9)])
    refused = sources.unpack_archive(archive, tmp_path / "into")
    assert set(tree(tmp_path / "into")) == {"0", "1", "2"}
    assert [name for name, _ in refused] == ["3"] and "what follows" in refused[0][1]


def test_archives_that_are_none(tmp_path):
    (tmp_path / "a.zip").write_text("no archive")
    whole = make_tar(tmp_path / "b.tar.gz", [("a", os.urandom(100_000))]).read_bytes()
    (tmp_path / "b.tar.gz").write_bytes(whole[: len(whole) // 2])
    damaged = bytearray(make_zip(tmp_path / "c.zip", [("a", os.urandom(1000)), ("b", b"fine")]).read_bytes())
    damaged[300:400] = bytes(100)
    (tmp_path / "c.zip").write_bytes(damaged)
    with pytest.raises(UnreadableFile, match="neither a zip nor a tar"):
        sources.unpack_archive(tmp_path / "a.zip", tmp_path / "into")
    try:
        assert "damaged" in dict(sources.unpack_archive(tmp_path / "b.tar.gz", tmp_path / "into"))["a"]
    except UnreadableFile as error:
        assert "damaged" in str(error)
    assert "damaged" in dict(sources.unpack_archive(tmp_path / "c.zip", tmp_path / "zip"))["a"]
    assert tree(tmp_path / "zip") == {"b": b"fine"}
