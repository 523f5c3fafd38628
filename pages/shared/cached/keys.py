"""What keys of the cache hold: the times of the files that an answer is made from."""

from pathlib import Path

from core import cohort
from core.settings import get_settings


def stamp_of(*paths: Path) -> tuple[int, ...]:
    """When files were last written, in nanoseconds; 0 for one that is not there."""
    return tuple(path.stat().st_mtime_ns if path.exists() else 0 for path in paths)


def headers_key(name: str) -> tuple:
    """What a cohort depends on, whatever people said of it."""
    folder = get_settings().cohorts_dir / name
    return str(folder), *stamp_of(folder / "cohort.parquet", folder / "split.json")


def log_key(name: str) -> tuple:
    """What the labels depend on that people gave to a cohort."""
    # Two lines of one moment have one change time, so the length counts too.
    path = get_settings().cohorts_dir / name / cohort.LOG_NAME
    return str(path), *stamp_of(path), path.stat().st_size if path.exists() else 0


def cohort_key(name: str) -> tuple:
    """What a cohort with people's labels depends on."""
    return *headers_key(name), *log_key(name)
