"""A trained run as one file that can be handed on, and how such a file becomes a run again.

The zip holds ``manifest.json`` (format, version, run, SHA-256 of each file), ``bundle/model.keras``,
``bundle/card.json``, ``bundle/jury.npz`` of a Siamese run, ``config.json``, ``scores.json``, ``CARD.md`` for people
and, where they were asked for, ``predictions.csv``. No path and no patient's name stands in it; pictures of a jury only
when asked.

What comes in is checked by `core.publishing.model_check` in a child process with little memory and little time, and
loaded nowhere else before that said yes.
"""

import hashlib
import io
import json
import secrets
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from core import bundle, runs
from core.child import Child
from core.config import RunConfig
from core.errors import BundleError, ChildDied, ChildError, ChildTimeout, RunError
from core.explanations.jury import JURY_FILE, Jury
from core.publishing import model_card, registry
from core.runs import Run
from core.settings import get_settings

FORMAT, VERSION = "slicescope-model", 1
MANIFEST, README, PREDICTIONS = "manifest.json", "CARD.md", "predictions.csv"
#: The check needs no accelerator, and each thread of BLAS reserves address space of its own.
_ENVIRONMENT = {
    "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip
_STEPS = 3


def export(run: Run, predictions: bool = False, pictures: bool = False) -> bytes:
    """Pack a run's model.

    Parameters
    ----------
    run : Run
        Done, its model the file that its card describes.
    predictions : bool
        Whether what it said of each slice of its cohort goes along, with pseudonyms and instance numbers.
    pictures : bool
        Whether a Siamese jury keeps its pictures, which show slices of patients.

    Returns
    -------
    bytes
        Of the zip.

    Raises
    ------
    CoreError
        When the run is not done, or its bundle does not verify.
    """
    from core.publishing import exports

    model = registry.verified(run.id)
    config = replace(run.config, weights=Path(run.config.weights).name)
    files = {
        f"bundle/{bundle.MODEL_FILE}": (run.bundle / bundle.MODEL_FILE).read_bytes(),
        f"bundle/{bundle.CARD_FILE}": json.dumps(model.card, indent=2).encode(),
        "config.json": json.dumps(asdict(config), indent=2).encode(),
        "scores.json": json.dumps(run.scores(), indent=2).encode(),
        README: model_card.markdown(model, None if run.id == runs.SHIPPED else config).encode(),
    }
    if model.card["kind"] == "siamese":
        files[f"bundle/{JURY_FILE}"] = _nameless(Jury.load(run.bundle), pictures)
    if predictions:
        files[PREDICTIONS] = exports.predictions_csv(run, paths=False)
    manifest = {
        "format": FORMAT, "version": VERSION, "run": run.id, "exported": _now(),
        "sha256": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }  # fmt: skip
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as pack:
        pack.writestr(MANIFEST, json.dumps(manifest, indent=2))
        for name, data in files.items():
            pack.writestr(name, data)
    return out.getvalue()


def admit(archive: Path, report: Callable[[int, int], None] | None = None) -> Run:
    """Make a run of a file that `export` wrote, here or elsewhere.

    Parameters
    ----------
    archive : Path
    report : callable, optional
        Called with (steps done, steps in all).

    Returns
    -------
    Run
        Done, with its origin on its card. It has no predictions: the slices that it was judged on are not here.

    Raises
    ------
    BundleError
        In one sentence, when the file is anything else than that.
    RunError
        When just this file was imported already.
    """
    report = report or (lambda done, total: None)
    settings = get_settings()
    if not archive.is_file():
        raise BundleError("There is no such file to import.")
    if archive.stat().st_size > settings.max_upload_mb << 20:
        raise BundleError(f"The file is larger than {settings.max_upload_mb} MB, more than a model may take.")
    digest = bundle.sha256(archive)
    # A bundle is loaded from the folder of runs only; a hidden one is no run yet.
    fresh = settings.runs_dir.resolve() / f".import-{secrets.token_hex(6)}"
    fresh.mkdir(parents=True)
    child = Child("core.publishing.model_check", memory_mb=settings.import_memory_mb, env=_ENVIRONMENT)
    try:
        report(0, _STEPS)
        _ask(child, {"do": "unpack", "archive": str(archive.resolve()), "into": str(fresh)})
        report(1, _STEPS)
        _ask(child, {"do": "load", "folder": str(fresh)})
        report(2, _STEPS)
        run = _settle(fresh, digest)
    finally:
        child.close()
        shutil.rmtree(fresh, ignore_errors=True)
    report(_STEPS, _STEPS)
    return run


def _ask(child: Child, request: dict[str, Any]) -> None:
    limit_s = get_settings().import_timeout_s
    try:
        child.request(request, timeout_s=limit_s)
    except ChildTimeout:
        raise BundleError(f"Checking the file took longer than {limit_s:g} seconds, so it was refused.") from None
    except ChildDied:
        raise BundleError("Checking the file ended the checker, most likely for want of memory; refused.") from None
    except ChildError as error:
        if getattr(error, "kind", "") == "MemoryError":
            raise BundleError("Checking the file takes more memory than is allowed, so it was refused.") from None
        raise BundleError(str(error)) from None


def _settle(fresh: Path, digest: str) -> Run:
    """Give a checked folder its place among the runs."""
    manifest = json.loads((fresh / MANIFEST).read_text("utf-8"))
    config = RunConfig.from_json(fresh / "config.json")
    run_id = f"{runs.slug(config.name)}-imported-{digest[:8]}"
    target = fresh.parent / run_id
    if target.exists():
        raise RunError(f"This file was imported before; it is run {run_id}.")
    origin = {"run": manifest["run"], "exported": manifest["exported"], "sha256": digest, "imported": _now()}
    bundle.update_card(fresh / "bundle", origin=origin)
    (fresh / MANIFEST).unlink()
    Run(run_id, fresh).update(state="done", progress=1.0, created=_now(), message="Imported; its model was checked")
    fresh.rename(target)
    return Run(run_id, target)


def _nameless(jury: Jury, pictures: bool) -> bytes:
    """Keep what votes, and let go of who was on the pictures and where they are."""
    m = len(jury.labels)
    # Numbered by patient, because it matters whether references are of the same person.
    order = {patient: f"reference patient {n + 1}" for n, patient in enumerate(dict.fromkeys(jury.patients))}
    nameless = replace(
        jury,
        patients=tuple(order[patient] for patient in jury.patients),
        keys=tuple("" for _ in range(m)),
        pictures=jury.pictures if pictures else np.full_like(jury.pictures, 24),
    )
    out = io.BytesIO()
    np.savez_compressed(out, **asdict(nameless))
    return out.getvalue()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
