"""What people say of a run, and the trash: a small file beside the run's own, and a folder beside the runs'.

``notes.json`` in the run folder holds the name that somebody gave it, a note, tags, and when it went to the trash.
Whoever changes a field last wins, and touches no other. A run in the trash is no run any more for the rest of the
project: its folder stands in ``trash/`` of the workspace, whole, until it is put back or deleted for good.
"""

import json
import shutil
import unicodedata
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from core import runs
from core.cohorts.slice_table import replaced
from core.errors import InputError, RunError
from core.runs import Run
from core.settings import get_settings

FILE = "notes.json"
LONGEST_NAME, LONGEST_NOTE, LONGEST_TAG, MOST_TAGS = 60, 2000, 30, 12


@dataclass(frozen=True)
class Notes:
    """What people say of a run.

    Attributes
    ----------
    name : str
        In place of the configuration's; empty for none.
    note : str
    tags : tuple of str
        Sorted, each once.
    trashed : str
        When it went to the trash, as a status has times; empty while it has not.
    """

    name: str = ""
    note: str = ""
    tags: tuple[str, ...] = ()
    trashed: str = ""


def read(run: Run) -> Notes:
    """Read a run's notes; without a file, or with one that is no use, there are none."""
    try:
        stored = json.loads((run.folder / FILE).read_text("utf-8"))
        texts = {name: str(stored.get(name, "")) for name in ("name", "note", "trashed")}
        return Notes(**texts, tags=tuple(map(str, stored.get("tags") or ())))
    except (OSError, ValueError, AttributeError, TypeError):
        return Notes()


def title(run: Run) -> str:
    """Return what a run is called: the name that somebody gave it, else its configuration's."""
    return read(run).name or run.config.name


def rename(run: Run, name: str) -> None:
    """Give a run another name; its id, and so every link to it, stays.

    Raises
    ------
    InputError
        When the name is empty or too long.
    RunError
        For the shipped run.
    """
    _refuse_shipped(run, "renamed")
    name = " ".join(_plain(name).split())
    if not 0 < len(name) <= LONGEST_NAME:
        raise InputError(f"A run's name has 1 to {LONGEST_NAME} characters; received {len(name)}. Choose another.")
    _change(run, name=name)


def annotate(run: Run, note: str) -> None:
    """Replace a run's note; an empty one removes it.

    Raises
    ------
    InputError
        When it is too long.
    """
    note = _plain(note, keep="\n\t").strip()
    if len(note) > LONGEST_NOTE:
        raise InputError(f"A note has at most {LONGEST_NOTE} characters; received {len(note)}. Shorten it.")
    _change(run, note=note)


def tag(run: Run, tags: list[str]) -> None:
    """Replace a run's tags.

    Parameters
    ----------
    run : Run
    tags : list of str
        In any order and case; they are stored in lower case, each once.

    Raises
    ------
    InputError
        When there are too many, or one is too long or has a comma.
    """
    words = sorted({" ".join(_plain(word).lower().split()) for word in tags} - {""})
    wrong = [word for word in words if len(word) > LONGEST_TAG or "," in word]
    if wrong or len(words) > MOST_TAGS:
        raise InputError(
            f"A run has at most {MOST_TAGS} tags of at most {LONGEST_TAG} characters without commas; "
            f"received {wrong[0][:60]!r}." if wrong else f"A run has at most {MOST_TAGS} tags; received {len(words)}."
        )  # fmt: skip
    _change(run, tags=words)


def trash(run_id: str) -> None:
    """Move a run that has ended to the trash.

    Raises
    ------
    RunError
        When it is queued or running, or ships with the project.
    """
    run = runs.read_run(run_id)
    _refuse_shipped(run, "moved to the trash")
    to = get_settings().trash_dir / run.id
    to.parent.mkdir(parents=True, exist_ok=True)
    with run.held():
        state = run.status["state"]
        if state in runs.ACTIVE:
            raise RunError(f"Run {run.id} is {state} and cannot be moved to the trash; cancel it first.")
        _write(run, replace(read(run), trashed=runs.now()))
        _move(run.folder, to)


def restore(run_id: str) -> Run:
    """Put a run of the trash back, as it was.

    Raises
    ------
    RunError
        When there is no such run in the trash.
    """
    run = read_trashed(run_id)
    back = Run(run.id, get_settings().runs_dir / run.id)
    back.folder.parent.mkdir(parents=True, exist_ok=True)
    with run.held():
        _move(run.folder, back.folder)
        _write(back, replace(read(back), trashed=""))
    return back


def read_trashed(run_id: str) -> Run:
    """Find a run of the trash by its id, which may come from an address and is not trusted.

    Raises
    ------
    RunError
        When there is none.
    """
    for run in runs.list_trash():
        if run.id == run_id:
            return run
    raise RunError(f"There is no run {str(run_id)[:80]!r} in the trash.")


def list_trash() -> list[Run]:
    """Runs in the trash, the last to come first."""
    return sorted(runs.list_trash(), key=lambda run: (read(run).trashed, run.id), reverse=True)


def delete(run_id: str) -> None:
    """Delete a run of the trash for good, with all its files.

    Raises
    ------
    RunError
        When it is not in the trash, or some file cannot be deleted.
    """
    run = read_trashed(run_id)
    try:
        shutil.rmtree(run.folder)
    except FileNotFoundError:
        # Somebody else deletes it at the same moment.
        return
    except OSError as error:
        raise RunError(f"Run {run.id} cannot be deleted: {error.strerror}.") from None


def _move(folder: Path, to: Path) -> None:
    try:
        folder.rename(to)
    except OSError as error:
        raise RunError(f"Run {folder.name} cannot be moved: {error.strerror}.") from None


def _refuse_shipped(run: Run, what: str) -> None:
    if run.id == runs.SHIPPED:
        raise RunError(f"The shipped model cannot be {what}; it comes with the project.")


def _plain(text: str, keep: str = "") -> str:
    """Replace control and format characters, which only hide what a text says, by spaces."""
    return "".join(c if c in keep or unicodedata.category(c) not in ("Cc", "Cf") else " " for c in str(text))


def _change(run: Run, **changes) -> None:
    with run.held():
        _write(run, replace(read(run), **changes))


def _write(run: Run, notes: Notes) -> None:
    with replaced(run.folder / FILE) as fresh:
        Path(fresh).write_text(json.dumps(asdict(notes), indent=1, ensure_ascii=False), "utf-8")
