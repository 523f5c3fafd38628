"""Archives that are indexed as they are: unpacked once into the workspace, within limits, and found there again.

On disk, ``workspace/unpacked/<digest of the archive's place>/`` holds ``files/`` and ``archive.json``: size and time
of the archive that they came from, and what was refused. An archive that has changed is unpacked anew.
"""

import json
import os
import secrets
import shutil
from pathlib import Path

from core.cohorts.pseudonyms import digest
from core.errors import UnreadableFile
from core.sandbox import get_sandbox
from core.settings import get_settings

_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def is_archive(path: Path) -> bool:
    """Say whether a path names a file that is unpacked before it is indexed."""
    return path.name.lower().endswith(_SUFFIXES) and path.is_file()


def root_of(path: Path) -> Path:
    """Give the folder that the paths of a cohort of `path` are relative to: an archive's lies in the workspace."""
    if is_archive(path):
        return _place(path) / "files"
    return (path if path.is_dir() else path.parent).resolve()


def opened(path: Path) -> tuple[Path, Path, list[tuple[str, str]]]:
    """Make what is indexed ready to be searched.

    Parameters
    ----------
    path : Path
        A folder, a file, or an archive, which is unpacked.

    Returns
    -------
    root : Path
        As from `root_of`.
    searched : Path
        The folder or the file whose files are meant.
    refused : list of (str, str)
        As from `unpacked`.
    """
    root = root_of(path)
    return (root, root, unpacked(path)) if is_archive(path) else (root, path.resolve(), [])


def unpacked(archive: Path) -> list[tuple[str, str]]:
    """Unpack an archive to `root_of`, unless just this one is there already.

    Parameters
    ----------
    archive : Path

    Returns
    -------
    list of (str, str)
        Name and reason of each member that was refused. An archive that ends too early stands there itself, and
        what came out of it by then is kept.
    """
    place, stat = _place(archive), archive.stat()
    stamp = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
    known = _facts(place)
    if known and known["stamp"] == stamp:
        return [(name, reason) for name, reason in known["refused"]]
    # Beside its place first: who is interrupted leaves nothing behind that looks whole.
    fresh = place.with_name(f".{place.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        (fresh / "files").mkdir(parents=True, mode=0o700)
        try:
            refused = get_sandbox().unpack(archive.resolve(), fresh / "files")
        except UnreadableFile as error:
            refused = [(archive.name, str(error))]
        # Names of members may hold bytes that are no text.
        refused = [(name.encode("utf-8", "replace").decode(), reason) for name, reason in refused]
        (fresh / "archive.json").write_text(json.dumps({"stamp": stamp, "refused": refused}), "utf-8")
        shutil.rmtree(place, ignore_errors=True)
        fresh.rename(place)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return refused


def _place(archive: Path) -> Path:
    return get_settings().workspace.resolve() / "unpacked" / digest(str(archive.resolve())).hex()[:16]


def _facts(place: Path) -> dict | None:
    try:
        return json.loads((place / "archive.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
