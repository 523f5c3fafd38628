"""A cohort's files in the workspace: written whole, read with care. The layout is drawn in `core.cohort`."""

import json
import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pandas as pd

from core.cohorts.cohort_journal import journal_path
from core.cohorts.default_split import apply_default_split, read_default_split
from core.cohorts.listing import Stamp
from core.cohorts.pseudonyms import shown_paths
from core.cohorts.slice_table import COLUMNS, REJECTED_COLUMNS, SCHEMA, Cohort, replaced, typed
from core.errors import CohortError, StaleCohort
from core.labelling.label_log import apply_label_log, read_log
from core.settings import get_settings

#: The folder counts as a cohort from the first of them on.
_FILES = ("cohort.json", "cohort.parquet", "rejected.parquet")
_AGAIN = "Index the folder again."
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


def write(cohort: Cohort) -> Cohort:
    """Write what `scan` found into the workspace; each file takes its old one's place whole.

    Parameters
    ----------
    cohort : Cohort
        As `scan` gives it. Labels that people change go to the log instead, see `append_label`.

    Returns
    -------
    Cohort
        As `read` would give it.

    Raises
    ------
    CohortError
        For a name that cannot be a folder's, labels from a log in the table, or where nothing can be written.
    """
    check_name(cohort.name)
    if is_logged(cohort.table):
        raise CohortError(f"Cohort {cohort.name!r} holds labels of its log; write the answer of a scan instead.")
    facts = {
        "schema": SCHEMA,
        "name": cohort.name,
        "root": _shown_root(cohort),
        "source": cohort.source,
        "created": cohort.created,
        "slices": len(cohort.table),
        "files": cohort.n_files,
        "rejected": len(cohort.rejected),
        "origin": dict(cohort.origin),
    }
    try:
        _write_files(cohort, facts)
    except OSError as error:
        raise CohortError(
            f"Cohort {cohort.name!r} cannot be written ({error.strerror}). What was there before stays as it was; "
            "make room in the workspace and index again."
        ) from error
    # Not read again: two tables of half a million slices would be there at once.
    return with_changes(cohort)


def _write_files(cohort: Cohort, facts: dict) -> None:
    columns = ["path", "shown_path", "file_size", "file_mtime_ns"]
    both = pd.concat([cohort.table[columns], cohort.rejected[columns]])
    # A member of an archive that was refused may go by the name of one that was not.
    places = both.drop_duplicates("path").assign(root=str(cohort.root))
    private = _private(cohort.name)
    private.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ExitStack() as stack:
        # All is written beside its place first; then all takes its place at once, the last entered first.
        fresh = [
            stack.enter_context(replaced(path))
            for path in (*(cohort.folder / name for name in _FILES), private, private.with_suffix(".identities.json"))
        ]
        facts_, table, rejected, places_, identities = fresh
        facts_.write_text(json.dumps(facts, indent=1), "utf-8")
        cohort.table.assign(path=cohort.table["shown_path"]).to_parquet(table, index=False)
        cohort.rejected.assign(path=cohort.rejected["shown_path"]).to_parquet(rejected, index=False)
        for path in (places_, identities):
            path.touch(mode=0o600, exist_ok=False)
        places.to_parquet(places_, index=False)
        identities.write_text(json.dumps(dict(cohort.identities)), "utf-8")
    journal_path(cohort.name, cohort.root).unlink(missing_ok=True)


def is_name(name: str) -> bool:
    """Tell whether a word can be the name of a folder or file in the workspace."""
    return bool(_NAME.fullmatch(name))


def check_name(name: str, what: str = "cohort") -> None:
    """Refuse what cannot be the name of a folder or file in the workspace.

    Raises
    ------
    CohortError
        With the rule.
    """
    if not is_name(name):
        raise CohortError(f"A {what}'s name has letters, digits, - and _, at most 40; received {name!r}.")


def _private(name: str) -> Path:
    return get_settings().workspace / "private" / f"{name}.parquet"


def _shown_root(cohort: Cohort) -> str:
    folder_and_file = f"{cohort.root.as_posix().strip('/')}/-"
    (shown,) = shown_paths([folder_and_file], cohort.identities).values()
    return "/" + shown.rpartition("/")[0]


def read(name_or_folder: str | Path) -> Cohort:
    """Read a cohort by its name in the workspace, or from its folder; labels of the log and a saved split are applied.

    Raises
    ------
    CohortError
        When there is none, it was written by another version, or its files do not fit together.
    """
    return with_changes(read_unlogged(name_or_folder))


def is_logged(table: pd.DataFrame) -> bool:
    """Tell whether a slice table holds labels that people gave."""
    return "person" in set(table["plane_rule"]) | set(table["sequence_rule"])


def with_changes(cohort: Cohort) -> Cohort:
    """Give what `read_unlogged` read the changes of people: labels of the log, and a saved split."""
    table = apply_label_log(cohort.table, read_log(cohort))
    return replace(cohort, table=apply_default_split(table, read_default_split(cohort)))


def read_unlogged(name_or_folder: str | Path) -> Cohort:
    """Read a cohort with the labels of its headers and the split of its scan, whatever people changed since."""
    named = isinstance(name_or_folder, str) and is_name(name_or_folder)
    folder = get_settings().cohorts_dir / name_or_folder if named else Path(name_or_folder)
    facts_file = folder / "cohort.json"
    if not facts_file.exists():
        there = ", ".join(list_cohorts()) or "none yet"
        raise CohortError(f"There is no cohort {str(name_or_folder)!r}. Cohorts in this workspace: {there}.")
    try:
        facts = json.loads(facts_file.read_text("utf-8"))
        schema, name, root, source, created = (facts[key] for key in ("schema", "name", "root", "source", "created"))
    except (ValueError, KeyError, TypeError) as error:
        raise StaleCohort(f"cohort.json of {folder.name!r} cannot be used ({error!r}). {_AGAIN}") from None
    if schema != SCHEMA:
        raise StaleCohort(f"Cohort {folder.name!r} was written as version {schema}; this is {SCHEMA}. {_AGAIN}")
    table, rejected = (
        _read_parquet(folder / f"{part}.parquet", columns)
        for part, columns in (("cohort", COLUMNS), ("rejected", REJECTED_COLUMNS))
    )
    cohort = Cohort(name, folder, Path(root), source, table, rejected, created, origin=facts.get("origin", {}))
    return _with_places(cohort) if _private(name).exists() and folder.resolve().parent == _cohorts_dir() else cohort


def _cohorts_dir() -> Path:
    return get_settings().cohorts_dir.resolve()


def _read_parquet(path: Path, columns: dict[str, str]) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
        absent = [column for column in columns if column not in table]
        if absent:
            raise StaleCohort(f"{path.name} of cohort {path.parent.name!r} has no column {', '.join(absent)}. {_AGAIN}")
        return typed(table, columns)
    except FileNotFoundError:
        raise StaleCohort(f"Cohort {path.parent.name!r} has no {path.name}. {_AGAIN}") from None
    except (OSError, ValueError, TypeError) as error:
        raise StaleCohort(f"{path.name} of cohort {path.parent.name!r} cannot be read ({error}). {_AGAIN}") from None


def _with_places(cohort: Cohort) -> Cohort:
    """Put the real root and paths back."""
    private = _private(cohort.name)
    places = pd.read_parquet(private)
    shown = pd.Index(places["shown_path"])
    put = {}
    for part, table in (("table", cohort.table), ("rejected", cohort.rejected)):
        at = shown.get_indexer(table["shown_path"])
        if (at < 0).any():
            raise StaleCohort(f"Cohort {cohort.name!r} does not fit its private paths. {_AGAIN}")
        put[part] = table.assign(path=places["path"].take(at).set_axis(table.index))
    identities = json.loads(private.with_suffix(".identities.json").read_text("utf-8"))
    root = Path(places["root"].iloc[0]) if len(places) else cohort.root
    return replace(cohort, root=root, identities=identities, **put)


def read_stamps(name: str) -> tuple[Path, dict[str, Stamp]] | None:
    """Give the root of a cohort of the workspace, and size and time of each of its files as they were scanned.

    None where the cohort was passed on without its private files, or by a version that kept none.
    """
    try:
        places = pd.read_parquet(_private(name))
        sizes, times = (places[column].tolist() for column in ("file_size", "file_mtime_ns"))
    except (FileNotFoundError, KeyError):
        return None
    if not len(places):
        return None
    return Path(places["root"].iloc[0]), dict(zip(places["path"].tolist(), zip(sizes, times, strict=True), strict=True))


def list_cohorts() -> list[str]:
    """List the names of the cohorts in this workspace, sorted."""
    folder = get_settings().cohorts_dir
    return sorted(path.parent.name for path in folder.glob("*/cohort.json")) if folder.is_dir() else []
