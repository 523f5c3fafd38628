"""What a scan has read so far, so that one that was interrupted goes on where it ended.

A file among the workspace's private ones: a first line that says what the others hold, then a line for each batch
of files with the sandbox's answers. `core.cohorts.cohort_files.write` removes it.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

from core.cohorts.listing import Stamp
from core.cohorts.pseudonyms import digest
from core.cohorts.slice_table import SCHEMA
from core.errors import CohortError
from core.reading.dicom_fast import KEYWORDS
from core.sandbox import Answer, answer_from_json, answer_to_json
from core.settings import get_settings

_FIRST = {"schema": SCHEMA, "keywords": sorted(KEYWORDS)}


def journal_path(name: str, root: Path) -> Path:
    """Give the place of the journal of a cohort's scan; the name tells nothing."""
    return get_settings().workspace / "private" / f"scan-{digest(f'{name} {root}').hex()[:16]}.jsonl"


class Journal:
    """The journal of one scan; use it in a ``with``, which closes it and leaves it where it is.

    Parameters
    ----------
    path : Path
        From `journal_path`.

    Raises
    ------
    CohortError
        When it cannot be written.
    """

    def __init__(self, path: Path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8")
        except OSError as error:
            raise CohortError(f"The workspace cannot be written ({error.strerror}).") from error

    def read(self) -> Iterator[tuple[str, list[Stamp], Answer]]:
        """Give path, stamps and answer of each file; what follows a line that was cut off is dropped."""
        self._file.seek(0)
        first = self._file.readline()
        if not first.endswith("\n") or json.loads(first) != _FIRST:
            self._file.truncate(0)
            self._file.seek(0)
            self._write(_FIRST)
            return
        at = self._file.tell()
        while (line := self._file.readline()).endswith("\n"):
            at = self._file.tell()
            batch = json.loads(line)
            for relative, stamps, answer in batch["files"]:
                yield relative, list(map(tuple, stamps)), answer_from_json(answer, batch["shared"])
        self._file.seek(at)
        self._file.truncate()

    def append(self, files: Sequence[tuple[str, list[Stamp], Answer]]) -> None:
        """Add a batch of files, each with the stamps of all that was read for its answer."""
        shared: dict[str, int] = {}
        answers = [(relative, stamps, answer_to_json(answer, shared)) for relative, stamps, answer in files]
        self._write({"shared": list(shared), "files": answers})

    def _write(self, line: dict) -> None:
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            raise CohortError(
                f"The workspace cannot be written ({error.strerror}). Make room in it and index again: "
                "what was read until now is kept."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()
