"""The one door to files: DICOM, NIfTI, PNG and JPEG become slices here, and archives become files."""

import functools
import lzma
import math
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from PIL import Image, UnidentifiedImageError

from core import dicom
from core.cohorts.listing import spelled
from core.errors import UnopenedFile, UnreadableFile
from core.reading import bids, dicom_fast
from core.settings import get_settings

Header = dict[str, Any]

_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
#: What zip and gzip files begin with.
_ARCHIVE_STARTS = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b")
#: What the decompressors raise for a damaged stream.
_DAMAGED = (zlib.error, lzma.LZMAError, NotImplementedError)
#: A brain at 0.4 mm has fewer.
_MAX_VOXELS = 1 << 28


def read_headers(path: Path) -> list[Header]:
    """Read the header of every slice in a file of any kind.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of dict
        As `core.dicom.read_headers`; ``kind`` is "dicom", "nifti" or "picture". A NIfTI volume's JSON sidecar
        is read into it; ``note`` says what of the file was read, ``problem`` what of it could not be.

    Raises
    ------
    UnreadableFile
        With one sentence that names the reason.
    """
    kind = _kind(Path(path))
    if kind == "nifti":
        return _nifti_headers(Path(path))
    if kind == "picture":
        return [_picture_header(Path(path))]
    return dicom.read_headers(Path(path))


def read_slices(path: Path) -> list[tuple[str, Header]]:
    """Read what rows and labels are made of, of every slice in a file of any kind, as fast as its kind allows.

    Parameters
    ----------
    path : Path

    Returns
    -------
    list of (str, dict)
        The headers of `read_headers`, each parted by `core.reading.dicom_fast.split_header`.

    Raises
    ------
    UnreadableFile
        As `read_headers`.
    """
    slices = dicom_fast.read_slices(path) if _kind(path) == "dicom" else None
    return [dicom_fast.split_header(header) for header in read_headers(path)] if slices is None else slices


def read_pixels(path: Path, frame: int = 0) -> np.ndarray:
    """Read one slice of a file of any kind.

    Parameters
    ----------
    path : Path
    frame : int
        As in `read_headers`.

    Returns
    -------
    ndarray of float32, shape (rows, columns)

    Raises
    ------
    UnreadableFile
    """
    path = Path(path)
    kind = _kind(path)
    if kind == "nifti":
        volume = _load_nifti(path, path.stat().st_mtime_ns)
        if not 0 <= frame < volume.shape[0]:
            raise UnreadableFile(f"It has {volume.shape[0]} slices; slice {frame} was asked for.")
        return np.ascontiguousarray(volume[frame], np.float32)
    if kind == "picture":
        return _picture_pixels(path)
    return dicom.read_pixels(path, frame)


def unpack_archive(archive: Path, into: Path) -> list[tuple[str, str]]:
    """Unpack a zip or tar archive, member by member, into a folder.

    Parameters
    ----------
    archive, into : Path
        Members keep their relative names.

    Returns
    -------
    list of (str, str)
        Name and reason of each member that was refused.

    Raises
    ------
    UnreadableFile
        When the archive itself cannot be read.
    """
    settings = get_settings()
    room, files, refused = settings.max_upload_mb << 20, 0, []
    try:
        for name, open_member, problem in _members(archive):
            if files + len(refused) >= settings.max_upload_files:
                refused.append((name, f"It and what follows are past the {settings.max_upload_files}th file."))
                break
            try:
                target = _safe_target(name, into)
                if problem:
                    raise UnreadableFile(problem)
                if name.lower().endswith(_ARCHIVES):
                    raise UnreadableFile("It is an archive inside an archive; unpack it first.")
                written = _copy(open_member, target, room)
                if written > room:
                    target.unlink()
                    # Nothing more fits: else each of many members could unpack that much in vain.
                    room = 0
                    raise UnreadableFile(f"With it the archive would unpack to more than {settings.max_upload_mb} MB.")
                room -= written
                files += 1
            except UnreadableFile as error:
                refused.append((name, str(error)))
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, ValueError, *_DAMAGED) as error:
        raise UnreadableFile(f"The archive is damaged ({type(error).__name__}).") from error
    except MemoryError:
        raise UnreadableFile("Unpacking it takes more memory than is allowed.") from None
    return refused


def _members(archive: Path) -> Iterator[tuple[str, Callable[[], BinaryIO], str]]:
    """Name, opener and objection (or "") of each member that is not a folder."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as pack:
            for info in pack.infolist():
                if info.is_dir():
                    continue
                mode = info.external_attr >> 16
                problem = "It is a link, not a file." if mode & 0o170000 == 0o120000 else ""
                problem = "It is encrypted." if info.flag_bits & 1 else problem
                yield info.filename, functools.partial(pack.open, info), problem
    elif tarfile.is_tarfile(archive):
        # A name that is no UTF-8 would otherwise come out as text that nothing can show or store.
        with tarfile.open(archive, errors="replace") as pack:
            for info in pack:
                if info.isdir():
                    continue
                problem = "" if info.isfile() else "It is a link or a device, not a file."
                yield info.name, functools.partial(pack.extractfile, info), problem
    else:
        raise UnreadableFile("It is neither a zip nor a tar archive.")


def _safe_target(name: str, into: Path) -> Path:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
        raise UnreadableFile("Its name leads out of the archive's folder.")
    if any(len(part.encode()) > 200 for part in parts) or len(parts) > 30:
        raise UnreadableFile("Its name is too long.")
    return into.joinpath(*parts)


def _copy(open_member: Callable[[], BinaryIO], target: Path, room: int) -> int:
    """Copy a member, and count what really comes out of it, whatever the archive claims; stops past `room`."""
    written = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_member() as source, target.open("xb") as sink:
            while written <= room and (block := source.read(1 << 20)):
                written += len(block)
                sink.write(block)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        raise UnreadableFile("Another file of the archive has the same name.") from None
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, RuntimeError, *_DAMAGED) as error:
        target.unlink(missing_ok=True)
        raise UnreadableFile(f"It is damaged ({type(error).__name__}).") from error
    except OSError as error:
        target.unlink(missing_ok=True)
        raise UnreadableFile(f"It cannot be written ({error.strerror or 'it is damaged'}).") from None
    return written


def _kind(path: Path) -> str:
    """Tell a file's kind by what it begins with, NIfTI by its name."""
    if path.name.startswith("."):
        raise UnreadableFile("It is a hidden file.")
    if path.name.upper() == "DICOMDIR":
        raise UnreadableFile("It is a DICOMDIR, an index of other files.")
    if spelled(path) != path.as_posix():
        raise UnreadableFile("Its name, or that of its folder, is not UTF-8, so that no table can hold it; rename it.")
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        link = "is a link and " if path.is_symlink() else ""
        raise UnopenedFile(f"It {link}cannot be opened ({error.strerror}).") from error
    if not start:
        raise UnreadableFile("The file is empty.")
    if path.name.lower().endswith((".nii", ".nii.gz")):
        return "nifti"
    if path.name.lower().endswith(".json") and any(volume.exists() for volume in bids.volumes_of(path)):
        raise UnreadableFile("It is the sidecar of a NIfTI volume, and is read with it.")
    if start.startswith(_ARCHIVE_STARTS):
        raise UnreadableFile("It is compressed or an archive: unpack it first, or index a zip or tar.gz by itself.")
    return "picture" if start.startswith(_PICTURES) else "dicom"


def _picture(path: Path) -> Image.Image:
    """Open a picture, which reads its size and decodes nothing."""
    limit = get_settings().max_slice_pixels
    try:
        picture = Image.open(path)
    except Image.DecompressionBombError:
        raise UnreadableFile(f"It has far more pixels than are read; at most {limit} are.") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise UnreadableFile("It is a damaged PNG or JPEG picture.") from error
    if picture.width * picture.height > limit:
        picture.close()
        raise UnreadableFile(f"It has {picture.height} × {picture.width} pixels; at most {limit} are read.")
    return picture


def _picture_header(path: Path) -> Header:
    # Decoded once, so that a picture that is cut short is refused now and not when it is looked at.
    rows, columns = _picture_pixels(path).shape
    return {"kind": "picture", "frame": 0, "Rows": rows, "Columns": columns}


def _picture_pixels(path: Path) -> np.ndarray:
    with _picture(path) as picture:
        try:
            if picture.mode in ("I;16", "I;16B", "I", "F"):
                return np.asarray(picture, np.float32)
            if picture.mode in ("LA", "RGBA", "PA", "P"):
                # transparent parts are background
                picture = picture.convert("RGBA")
                black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
                return np.asarray(Image.alpha_composite(black, picture).convert("L"), np.float32)
            return np.asarray(picture.convert("L"), np.float32)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UnreadableFile("It is a PNG or JPEG picture that is damaged or cut short.") from error


def _open_nifti(path: Path) -> nibabel.spatialimages.SpatialImage:
    try:
        image = nibabel.load(path)
        shape, affine = image.shape, image.affine
    except MemoryError:
        raise UnreadableFile("Reading it takes more memory than is allowed.") from None
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, *_DAMAGED) as error:
        # nibabel's own words hold the path
        raise UnreadableFile(f"It is not a NIfTI volume that can be read ({type(error).__name__}).") from error
    if len(shape) < 3 or min(shape) < 1:
        raise UnreadableFile(f"A NIfTI volume has three axes; this one has the shape {shape}.")
    if affine is None or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise UnreadableFile("Its affine does not say where its voxels lie.")
    voxels = math.prod(shape[:3])
    limit = get_settings().max_slice_pixels
    if voxels > _MAX_VOXELS or max(voxels // n for n in shape[:3]) > limit:
        raise UnreadableFile(f"It has {voxels} voxels; at most {_MAX_VOXELS}, and {limit} a slice, are read.")
    return image


def _layout(image: nibabel.spatialimages.SpatialImage) -> tuple[np.ndarray, tuple[int, int, int]]:
    """How a volume is cut: nibabel's orientation table, and the voxel axes of (slice, row, column)."""
    affine, shape = image.affine, np.array(image.shape[:3])
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    extent = zooms * shape
    if zooms.max() > 1.3 * zooms.min():
        axis = int(zooms.argmax())
    elif extent.min() < 0.5 * np.median(extent):
        axis = int(extent.argmin())  # a slab
    else:
        axis = 2
    table = nibabel.io_orientation(affine)
    world = {int(table[a, 0]): a for a in range(3)}  # 0 = right-left, 1 = front-back, 2 = up-down
    normal = int(table[axis, 0])
    row_world, column_world = {0: (2, 1), 1: (2, 0), 2: (1, 0)}[normal]
    return table, (axis, world[row_world], world[column_world])


@functools.lru_cache(1)
def _load_nifti(path: Path, mtime_ns: int) -> np.ndarray:
    """The first volume as (slice, row, column), oriented as radiologists look: patient's right on the left, front
    up (or on the left in sagittal slices), head up."""
    image = _open_nifti(path)
    try:
        index = (slice(None),) * 3 + (0,) * (len(image.shape) - 3)
        data = np.asarray(image.dataobj[index])
    except (OSError, EOFError, ValueError, *_DAMAGED) as error:
        raise UnreadableFile("Its voxels are damaged or cut short.") from error
    except MemoryError:
        raise UnreadableFile("Reading it takes more memory than is allowed.") from None
    if data.dtype.names:
        data = sum(data[name].astype(np.float32) for name in data.dtype.names[:3]) / 3
    if np.iscomplexobj(data):
        data = np.abs(data)
    table, axes = _layout(image)
    data = data.transpose(axes)
    return data[tuple(_direction(table, voxel_axis, i) for i, voxel_axis in enumerate(axes))]


def _direction(table: np.ndarray, voxel_axis: int, place: int) -> slice:
    """Forwards or backwards along a voxel axis: slices ascend towards right, front or head; rows run from the head
    or the front down, columns from the patient's right, or from the front in a sagittal slice."""
    wanted = 1 if place == 0 else -1
    return slice(None, None, 1 if table[voxel_axis, 1] == wanted else -1)


def _nifti_headers(path: Path) -> list[Header]:
    image = _open_nifti(path)
    table, axes = _layout(image)
    affine = image.affine
    lps = np.diag([-1.0, -1.0, 1.0])
    starts, steps = np.zeros(3), []
    for place, voxel_axis in enumerate(axes):
        reverse = _direction(table, voxel_axis, place).step == -1
        starts[voxel_axis] = image.shape[voxel_axis] - 1 if reverse else 0
        steps.append((lps @ affine[:3, voxel_axis]) * (-1 if reverse else 1))
    first = lps @ (affine[:3, :3] @ starts + affine[:3, 3])
    normal, down, along = steps
    spacing = [float(np.linalg.norm(down)), float(np.linalg.norm(along))]
    orientation = [*(along / spacing[1]).tolist(), *(down / spacing[0]).tolist()]
    shared = {
        **bids.read_sidecar(path),
        "kind": "nifti",
        "Rows": int(image.shape[axes[1]]),
        "Columns": int(image.shape[axes[2]]),
        "PixelSpacing": spacing,
        "SliceThickness": float(np.linalg.norm(normal)),
        "ImageOrientationPatient": orientation,
    }
    if len(image.shape) > 3 and image.shape[3] > 1:
        shared["note"] = f"the first of {image.shape[3]} volumes is read, no mean is taken"
    # The voxels too must be readable before the file counts as slices.
    count = _load_nifti(path, path.stat().st_mtime_ns).shape[0]
    return [
        {**shared, "frame": i, "InstanceNumber": i + 1, "ImagePositionPatient": (first + normal * i).tolist()}
        for i in range(count)
    ]
