"""What lies in a folder, with size and time of each file: how a scan knows what is new, at one look a file."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from core.errors import InputError

#: Size in bytes, and time of the last change in ns; zeros where they cannot be had.
Stamp = tuple[int, int]


def find_files(path: Path) -> dict[str, Stamp]:
    """List the files under a folder, or the file itself.

    Parameters
    ----------
    path : Path

    Returns
    -------
    dict of str to (int, int)
        By path relative to the folder (a file: its name), with forward slashes, sorted: size in bytes and time
        in ns. Every regular file, readable or not, so that each can be accounted for; with them folders
        that cannot be searched, and links to nothing. Hidden folders are not searched, and links that lead out of
        the folder are left alone: they are not what was offered.

    Raises
    ------
    InputError
        When there is nothing at `path`.
    """
    path = Path(path)
    if path.is_file():
        return {path.name: _stamp(path)}
    if not path.is_dir():
        raise InputError("There is neither a file nor a folder of that name. Check the spelling.")
    found = dict(_walk(str(path), "", os.path.realpath(path)))
    return {relative: found[relative] for relative in sorted(found)}


def spelled(path: PurePath | str) -> str:
    """Give a path as text that can be stored; bytes that are no UTF-8, as old archives leave them, as numbers.

    Examples
    --------
    >>> spelled(os.fsdecode(b"caf\\xe9/1.dcm"))
    'caf\\\\xe9/1.dcm'
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _walk(folder: str, relative: str, root: str) -> Iterator[tuple[str, Stamp]]:
    try:
        with os.scandir(folder) as entries:
            inside = list(entries)
    except OSError:
        yield relative.rstrip("/") or ".", (0, 0)
        return
    for entry in inside:
        if entry.is_symlink():
            # Unlike `Path.resolve`, `os.path.realpath` makes do with links in a circle.
            target = Path(os.path.realpath(entry.path))
            if target.is_relative_to(root) and (target.is_file() or not target.exists()):
                yield relative + entry.name, _stamp(entry)
        elif entry.is_file():
            yield relative + entry.name, _stamp(entry)
        elif entry.is_dir() and not entry.name.startswith("."):
            yield from _walk(entry.path, f"{relative}{entry.name}/", root)


def _stamp(file: Path | os.DirEntry) -> Stamp:
    try:
        stat = file.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns
