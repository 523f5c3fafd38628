"""Paths as somebody else wrote them down, and the files of a folder that they mean."""

from collections.abc import Iterable, Mapping
from pathlib import Path


def find_paths(keys: Iterable[str], files: Mapping[str, str], root: Path) -> dict[str, str]:
    """Find the file that each key means.

    Parameters
    ----------
    keys : iterable of str
        Paths as somebody wrote them: relative, absolute, of another machine, or file names alone.
    files : mapping of str
        Paths relative to `root`, to how they are shown ("" for the same).
    root : Path

    Returns
    -------
    dict of str
        From each key that means just one file to its path. A key may be the end of a file's path, or a file's
        relative path (or, for files in the root itself, the root's name and theirs) the end of the key.

    Examples
    --------
    >>> files = {"a/1.png": "", "b/1.png": "", "b/2.png": ""}
    >>> find_paths(["2.png", "1.png", "D:/mine/b/1.png", "./a/1.png", "/here/b/2.png"], files, Path("/here"))
    {'2.png': 'b/2.png', 'D:/mine/b/1.png': 'b/1.png', './a/1.png': 'a/1.png', '/here/b/2.png': 'b/2.png'}
    """
    parts = {key: _parts(key) for key in keys if key}
    wanted = {"/".join(own) for own in parts.values()}
    lengths = {len(own) for own in parts.values()}
    above = _parts(root.as_posix())
    exact, ends, ambiguous = {}, {}, set()
    for file, shown in files.items():
        for spelled in {file, shown} - {""}:
            own = _parts(spelled)
            exact[spelled] = file
            if len(own) == 1 and above:
                exact.setdefault("/".join((*above[-1:], *own)), file)
            whole = (*above, *own)
            for end in ("/".join(whole[-length:]) for length in lengths if length <= len(whole)):
                if end in wanted and ends.setdefault(end, file) != file:
                    ambiguous.add(end)
    found = {}
    for key, own in parts.items():
        end = "/".join(own)
        file = exact.get(end) or (ends.get(end) if end not in ambiguous else None)
        if file is None and end not in ambiguous:
            tails = ("/".join(own[start:]) for start in range(1, len(own) - 1))
            file = next((exact[tail] for tail in tails if tail in exact), None)
        if file is not None:
            found[key] = file
    return found


def _parts(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.replace("\\", "/").split("/") if part not in ("", "."))
