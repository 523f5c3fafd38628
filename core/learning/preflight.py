"""The one look before the start of a run: what would be learnt from what, what leaks, and why it cannot work.

`look` takes milliseconds and is asked again at every launch; what takes longer stands beside it: pictures on both sides
(`core.cohorts.leaks.check`), what the network costs here (`core.learning.pace_measure`), whether weights can be
fetched. Page, command line and queue come through `require`, so that a launch that cannot work is refused before it
queues.
"""

import json
import os
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import psutil

from core import batches, cohort, runs, splits
from core.cohorts import leaks
from core.cohorts.leaks import LeakReport
from core.cohorts.slice_table import Cohort, replaced
from core.config import LEAKY, WEIGHTS, RunConfig
from core.errors import ConfigError, WeightsUnavailable
from core.learning import pace_measure, run_split
from core.queueing import device_load
from core.settings import get_settings

REPORT_NAME = "preflight.json"
#: Fields of a configuration that `look` depends on.
FIELDS = (
    "cohort", "kind", "label", "split", "fractions", "random_state", "train_share", "weights", "image_size", "devices",
)  # fmt: skip
#: Milliseconds a slice where nobody has measured it.
READ_MS = 6.0
#: Files that are looked for at each launch; the training reads all of them anyway.
_FILES = 200
_OFFLINE = "Offline choices: the slicescope backbone with its shipped weights, weights none, or a local file"
_WHERE = "https://storage.googleapis.com/tensorflow/keras-applications"
#: How Keras names the files that it fetches.
_FETCHED = {
    "ResNet50": "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "MobileNetV2": "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{rows}_no_top.h5",
    "EfficientNetV2B0": "efficientnetv2-b0_notop.h5",
}


@dataclass(frozen=True)
class Preflight:
    """What a run would be made from.

    Attributes
    ----------
    counts : DataFrame
        One row a head, class and part that holds something: head, label, split, slices, patients.
    amounts : dict of int
        Slices and patients that take part, a part; ``{"train": (slices, patients), …}``.
    unlabelled, left_out : int
        Slices that are dropped, because no head has an answer for them or no training slice shows their class; and
        those that a smaller share of the training patients leaves out.
    missing : tuple of str
        Sentences: classes that a part lacks.
    shared : tuple of str
        Patients with slices in more than one part.
    split : Series of str
        Part of each slice, indexed like the cohort's table; missing for those that take no part.
    split_hash : str
        What the run's card will say.
    device : str
        Words for what would train.
    images_mb : float
        MiB that all slices take as model inputs.
    refusals, warnings : tuple of str
        Sentences: why the launch cannot work, and what to know before it.
    """

    counts: pd.DataFrame
    amounts: dict[str, tuple[int, int]]
    unlabelled: int
    left_out: int
    missing: tuple[str, ...]
    shared: tuple[str, ...]
    split: pd.Series
    split_hash: str
    device: str
    images_mb: float
    refusals: tuple[str, ...]
    warnings: tuple[str, ...]

    def work(
        self, config: RunConfig, read_ms: float, others: Iterable[tuple[str, RunConfig]] = ()
    ) -> pace_measure.Amounts:
        """How much there is to do, for `pace_measure.estimate`; `others` are runs that left what can be used.

        Parameters
        ----------
        config : RunConfig
        read_ms : float
        others : iterable of (str, RunConfig)
            Ids and configurations of runs that end before this one.
        """
        inputs = [one for one in others if (one[1].cohort, one[1].image_size) == (config.cohort, config.image_size)]
        network = (config.backbone, config.weights, config.augmentation)
        features = any(
            (one.backbone, one.weights, one.augmentation) == network and one.augment_views >= config.augment_views
            for run_id, one in inputs
            if run_id != runs.SHIPPED  # which was judged here and learnt elsewhere
        )
        slices = (self.amounts[part][0] for part in splits.SPLITS)
        return pace_measure.Amounts(*slices, read_ms, bool(inputs), features)


def look(made: Cohort, config: RunConfig) -> Preflight:
    """Look at what a run would be made from; some milliseconds, nothing of the pictures is read.

    Parameters
    ----------
    made : Cohort
    config : RunConfig

    Returns
    -------
    Preflight

    Raises
    ------
    ConfigError
        When the configuration is none.
    CohortError
        When the split that it asks for cannot be had.
    """
    config.validate()
    table = made.table.assign(split=run_split.dealt(made, config))
    words = {head: batches.label_values(table, head) for head in config.heads}
    whole = table["split"]
    classes = {head: batches.classes_of(known[whole == "train"], head) for head, known in words.items()}
    # After the classes are known: runs on different shares are judged on the same slices.
    dealt = whole.mask(run_split.left_out(table, config))
    learnt = {head: batches.classes_of(known[dealt == "train"], head) for head, known in words.items()}
    answered = np.any([words[head].isin(names) for head, names in classes.items()], axis=0)
    split = dealt.where(answered)
    patients = table["PatientID"]
    amounts = {part: (int((here := split == part).sum()), int(patients[here].nunique())) for part in splits.SPLITS}
    counts = pd.concat([_counted(known, dealt, patients, head) for head, known in words.items()], ignore_index=True)
    images_mb = float(split.notna().sum() * config.image_size**2 * 4 / 2**20)
    placed = split.dropna()
    return Preflight(
        counts, amounts, int((~answered & dealt.notna()).sum()), int(dealt.isna().sum()),
        tuple(_missing(counts, amounts)), tuple(splits.leaks(table, split)["PatientID"].astype("str")),
        split, splits.split_hash(table.loc[placed.index], placed), _device_words(), images_mb,
        tuple(_refusals(made, config, learnt, amounts, images_mb)), tuple(_warnings(config, counts, amounts)),
    )  # fmt: skip


def _counted(words: pd.Series, split: pd.Series, patients: pd.Series, head: str) -> pd.DataFrame:
    names = batches.classes_of(words, head)
    # Numbers, because a group-by of words costs more than all the rest of the look.
    cell = 3 * pd.Index(names).get_indexer(words) + pd.Index(splits.SPLITS).get_indexer(split)
    known = words.isin(names).to_numpy() & split.isin(splits.SPLITS).to_numpy()
    person, people = pd.factorize(patients)
    persons = np.unique(cell[known] * len(people) + person[known]) // max(1, len(people))
    slices, patients = (np.bincount(one, minlength=3 * len(names)) for one in (cell[known], persons))
    labels, parts = np.repeat(names, 3), np.tile(splits.SPLITS, len(names))
    values = {"head": head, "label": labels, "split": parts, "slices": slices, "patients": patients}
    counts = pd.DataFrame(values).astype({"label": "str", "split": "str"})
    return counts[counts["slices"] > 0].reset_index(drop=True)


def _missing(counts: pd.DataFrame, amounts: dict) -> list[str]:
    shown = counts[["head", "label", "split"]].to_numpy().tolist()
    consequence = {"train": "are not learnt", "validation": "are not tuned", "test": "cannot be judged"}
    said = []
    for head in dict.fromkeys(row[0] for row in shown):
        names = dict.fromkeys(label for of, label, _ in shown if of == head)
        for part, what in consequence.items():
            lacking = [name for name in names if [head, name, part] not in shown]
            if lacking and amounts[part][0]:
                said.append(f"No {part} slice shows {', '.join(lacking)} ({head}): these classes {what}.")
    return said


def _refusals(
    made: Cohort, config: RunConfig, classes: dict[str, list[str]], amounts: dict, images_mb: float
) -> list[str]:
    found = [
        f"The training patients show {len(names)} {'class' if len(names) == 1 else 'classes'} of {head}"
        f"{' (' + names[0] + ')' if names else ''}; at least 2 are needed. Label more slices, choose another label, "
        "or another cohort."
        for head, names in classes.items()
        if len(names) < 2
    ]
    if not amounts["validation"][1]:
        found.append(
            "No patient with an answer is left for validation, so nobody could tell when to stop. Give validation a "
            "share, or index more patients."
        )
    checks = (_files_gone(made), _weights_missing(config), _device_missing(config), _too_little_memory(images_mb))
    return found + [sentence for sentence in checks if sentence]


def _files_gone(made: Cohort) -> str:
    if made.table.empty:
        return "The cohort has no slices. Index its folder again."
    paths = made.table["path"].iloc[:: max(1, len(made.table) // _FILES)]
    gone = sum(not (made.root / path).exists() for path in paths)
    if not gone:
        return ""
    return (
        f"Files of the cohort {made.name} are gone: {gone} of {len(paths)} that were looked for are not where they "
        "were indexed. Connect the disk, or index the folder again."
    )


def _weights_missing(config: RunConfig) -> str:
    if config.weights in WEIGHTS:
        return ""
    path = Path(config.weights)
    if not path.is_file():
        return (
            f"There is no weights file {path.name}. Give the path of a .keras or .weights.h5, or choose other weights."
        )
    with path.open("rb") as file:
        begins = file.read(8)
    right = zipfile.is_zipfile(path) if path.suffix == ".keras" else begins == b"\x89HDF\r\n\x1a\n"
    return "" if right else f"The weights file {path.name} is damaged or not what its name says. Choose another one."


def _device_missing(config: RunConfig) -> str:
    settings = get_settings()
    try:
        there = device_load.devices(settings.device)
    except ConfigError as error:
        return str(error)
    found = len(device_load.gpu_ids())
    gone = [device for device in there if device != "cpu" and int(device[4:]) >= found]
    if gone:
        return f"{', '.join(gone)} is not there ({found} NVIDIA GPUs found). Set SLICESCOPE_DEVICE to auto or cpu."
    room = max(1, settings.logical_cpus) if there == ("cpu",) else len(there)
    if config.devices > room:
        return f"{config.devices} devices are asked for and {room} can share a run here. Choose at most {room}."
    return ""


def _too_little_memory(needed_mb: float) -> str:
    total = _memory_mb()
    if needed_mb <= total:
        return ""
    return (
        f"About {needed_mb / 1024:.1f} GiB of memory are needed and this machine has {total / 1024:.1f}. Choose a "
        "smaller image size, batch size or backbone, or a smaller share of the patients."
    )


def _warnings(config: RunConfig, counts: pd.DataFrame, amounts: dict) -> list[str]:
    found = []
    if not amounts["test"][1]:
        found.append("No patient is left for the test, so the run will be scored on those it was tuned on.")
    if config.split in LEAKY:
        found.append("Slices are dealt one by one, so heads stand on both sides: scores will be too good.")
    alone = counts[(counts["split"] == "train") & (counts["patients"] == 1)]["label"].unique().tolist()
    if alone and amounts["train"][1] > 1:
        found.append(f"Only one training patient shows {', '.join(alone)}: that head may be learnt, not the class.")
    return found


def _device_words() -> str:
    """Words for what would train; GPUs count whether or not TensorFlow can use them."""
    with suppress(ConfigError):
        there = device_load.devices(get_settings().device)
        if there != ("cpu",):
            return f"{', '.join(there)} of {len(device_load.gpu_ids())} GPUs"
    return f"CPU, {os.cpu_count()} cores"


def _memory_mb() -> float:
    """Memory of this machine, or what a container may take of it, MiB."""
    total = psutil.virtual_memory().total
    with suppress(OSError, ValueError):  # it says "max" where there is no limit
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total / 2**20


def twin(config: RunConfig, among: Iterable[runs.Run] | None = None) -> str:
    """Say which queued or running run, among all or some, is just this one; an empty word where there is none."""
    for run in runs.list_runs() if among is None else among:
        if run.status["state"] in runs.ACTIVE and run.config == config:
            return f"The same run is {run.status['state']} already: {run.id}."
    return ""


# What takes longer ----------------------------------------------------------------------------------------


def cost_refusal(estimate: pace_measure.Estimate) -> str:
    """Say whether an estimated run fits into this machine's memory; an empty word when it does."""
    return _too_little_memory(estimate.memory_mb)


def check_weights(config: RunConfig) -> None:
    """Make sure that a run's weights can be had: in Keras' cache or on the network, or a file that fits.

    Raises
    ------
    WeightsUnavailable
        Naming the offline choices.
    ChildError
        When a file could not be tried.
    """
    if config.weights != "imagenet":
        pace_measure.check_weights(config)
        return
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    rows = config.image_size if config.image_size in (96, 128, 160, 192, 224) else 224
    name = _FETCHED[config.backbone].format(rows=rows)
    if (home / "models" / name).is_file() or _reachable(_WHERE):
        return
    raise WeightsUnavailable(
        f"The ImageNet weights of {config.backbone} are not on this machine, and the network that Keras fetches them "
        f"from cannot be reached. {_OFFLINE}."
    )


def _reachable(address: str) -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=4).close()
    except urllib.error.HTTPError:
        return True  # somebody answered
    except (OSError, ValueError):
        return False
    return True


# The alarm, and the gate ----------------------------------------------------------------------------------


def alarms(seen: Preflight, found: LeakReport | None) -> list[str]:
    """Say what stands on both sides, a sentence each; empty where nothing is known to.

    Parameters
    ----------
    seen : Preflight
    found : LeakReport or None
        From `core.cohorts.leaks.check` of the same split; None where pictures were not compared.
    """
    said = []
    if seen.shared:
        n = len(seen.shared)
        said.append(f"{_count(n, 'patient')} {'has' if n == 1 else 'have'} slices in more than one part.")
    if found is not None:
        for pairs, how in ((found.equal, "equal"), (found.near, "nearly equal")):
            if len(pairs):
                pair = pairs.iloc[0]
                said.append(
                    f"{_count(len(pairs), 'picture')} {how} to one of another part, for example of {pair['PatientID']} "
                    f"({pair['split']}) and {pair['other_PatientID']} ({pair['other_split']})."
                )
    return said


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def require(
    config: RunConfig,
    found: LeakReport | None = None,
    dismissed: str = "",
    report: Callable[[int, int], None] | None = None,
) -> dict:
    """Refuse a launch that cannot work; page, command line and queue all come through here.

    Parameters
    ----------
    config : RunConfig
    found : LeakReport, optional
        What `core.cohorts.leaks.check` found in this run's split.
    dismissed : str
        Why a leak does not matter, in a person's words.
    report : callable, optional
        Called with (slices read, slices in all) while pictures are compared here, where `found` is not given. With
        neither they are not compared, and the answer says so.

    Returns
    -------
    dict
        The whole look in JSON values, for `write`.

    Raises
    ------
    ConfigError
        With every reason why it cannot work, or naming a leak that nobody has dismissed.
    CohortError
        When the cohort cannot be read, or has no saved split where one is asked for.
    WeightsUnavailable
        When the weights cannot be had.
    """
    config.validate()
    made = cohort.read(config.cohort)
    seen = look(made, config)
    measured = pace_measure.known(config)
    estimate = pace_measure.estimate(config, measured, seen.work(config, READ_MS)) if measured else None
    refusals = [*seen.refusals, *filter(None, [estimate and cost_refusal(estimate)])]
    if refusals:
        raise ConfigError(" ".join(refusals))
    check_weights(config)
    if found is None and report is not None:
        found = leaks.check(made, seen.split, report)
    leaking = alarms(seen, found)
    if leaking and not dismissed.strip():
        raise ConfigError(f"This split leaks: {' '.join(leaking)} Split by patient, or dismiss the alarm and say why.")
    return _report(seen, found, leaking, dismissed.strip(), estimate, twin(config))


def _report(
    seen: Preflight, found: LeakReport | None, leaking: Sequence[str], reason: str,
    estimate: pace_measure.Estimate | None, same: str,
) -> dict:  # fmt: skip
    now = datetime.now(UTC).isoformat(timespec="seconds")
    pairs = [] if found is None else [found.equal.assign(how="equal"), found.near.assign(how="nearly equal")]
    columns = ["how", "split", "PatientID", "other_split", "other_PatientID", "correlation"]
    return {
        "looked": now,
        "counts": seen.counts.to_dict("records"),
        "parts": {part: {"slices": n, "patients": people} for part, (n, people) in seen.amounts.items()},
        "unlabelled": seen.unlabelled,
        "left_out": seen.left_out,
        "missing": list(seen.missing),
        "warnings": [*seen.warnings, *filter(None, [same])],
        "split_hash": seen.split_hash,
        "device": seen.device,
        "estimate": {"seconds": estimate.total_s, "memory_mb": estimate.memory_mb} if estimate else None,
        "pictures_compared": None if found is None else found.compared,
        "shared_patients": list(seen.shared),
        "shared_pictures": [row for part in pairs for row in part[columns].to_dict("records")],
        "dismissal": {"leaks": list(leaking), "reason": reason, "when": now} if leaking else None,
    }


def write(folder: Path, report: dict) -> None:
    """Write what `require` returned into a run's folder."""
    with replaced(folder / REPORT_NAME) as fresh:
        fresh.write_text(json.dumps(report, indent=1), "utf-8")


def limits(folder: Path) -> list[str]:
    """Sentences for a run's card: what leaked, and why somebody let it pass; none where nothing did.

    Raises
    ------
    ConfigError
        When the report beside the run is none of ours.
    """
    path = folder / REPORT_NAME
    if not path.exists():
        return []
    try:
        dismissal = json.loads(path.read_text("utf-8"))["dismissal"]
        if not dismissal:
            return []
        leaking = " ".join(dismissal["leaks"])
        return [f"Scores are too good: {leaking} This was dismissed before the start: {dismissal['reason']}"]
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{REPORT_NAME} of this run is no look before a start. Queue the run again.") from None
