"""Named juries: references that somebody chose for a model, kept with its run, usable without any training.

A class is a few example slices, so a new one needs no training: any model's embedding will do, a Siamese one's best.
One file a jury holds everything, ``runs/<id>/juries/<name>.npz`` (``juries/<name>.npz`` in the workspace for the
shipped model), replaced atomically: references as pseudonyms and slice keys, how they vote, what they were tried on,
and the sha256 of the model whose embeddings they are.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from core import runs
from core.cohorts.cohort_files import check_name
from core.cohorts.slice_table import replaced
from core.errors import BundleError, CoreError, InputError
from core.explanations.jury import Jury, unit
from core.explanations.votes import Vote, fit_margin, vote
from core.publishing import registry
from core.settings import get_settings

#: Words of a class: what a table, a page and a file can show.
_LABEL = re.compile(r"[^\W_][\w .+*()/-]{0,39}")
#: Accuracy that is asked of a jury's answers unless somebody says otherwise.
TARGET = 0.95


@dataclass(frozen=True)
class Trial:
    """What a jury was tried on: t slices with known class.

    Attributes
    ----------
    cosines : ndarray of float32, shape (t, m)
        To each reference; NaN where it is left out.
    truths : ndarray of int, shape (t,)
        Numbers of the jury's classes.
    how : str
        In words, empty for a jury that was not tried.
    """

    cosines: np.ndarray
    truths: np.ndarray
    how: str

    def ask(self, jury: Jury, rule: str, k: int) -> tuple[Vote, np.ndarray]:
        """Let the jury vote on the trial's slices; return what it said and where it was right."""
        cosines = self.cosines.reshape(len(self.truths), len(jury.labels))
        said = vote(cosines, jury.codes, len(jury.classes), rule, k)
        return said, said.winner == self.truths


NO_TRIAL = Trial(np.empty(0, np.float32), np.empty(0, int), "")


@dataclass(frozen=True)
class NamedJury:
    """A jury with its name, its rules and its model.

    Attributes
    ----------
    name : str
    jury : Jury
    model : str
        ``shipped``, or a run's id.
    sha256 : str
        Of the model's file: another model's embeddings cannot be compared with these references.
    cohort : str
        In which the references' keys lead to slices.
    chosen : str
        How the references were chosen, in words.
    vote : str
        One of `core.explanations.votes.VOTES`.
    k : int
        References that count in a majority.
    target : float
        Accuracy asked of its answers.
    threshold : float
        Margin below which it abstains.
    reached : bool
        Whether some margin reached the target in the trial.
    temperature : float
        Of its probabilities, fitted in the trial.
    trial : Trial
    created : str
        ISO 8601, UTC.
    """

    name: str
    jury: Jury
    model: str
    sha256: str
    cohort: str
    chosen: str
    vote: str = "mean"
    k: int = 5
    target: float = TARGET
    threshold: float = 0.0
    reached: bool = False
    temperature: float = 1.0
    trial: Trial = NO_TRIAL
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    def ask(self, embeddings: np.ndarray) -> tuple[Vote, np.ndarray, np.ndarray]:
        """Vote on slices.

        Parameters
        ----------
        embeddings : ndarray, shape (n, d)

        Returns
        -------
        vote : Vote
        proba : ndarray, shape (n, classes)
        abstains : ndarray of bool, shape (n,)
        """
        said = vote(unit(embeddings) @ self.jury.embeddings.T, self.jury.codes, len(self.jury.classes), self.vote,
                    self.k)  # fmt: skip
        return said, said.probabilities(self.temperature), said.margin < self.threshold

    @property
    def facts(self) -> dict[str, Any]:
        """What a table says of it: how it did in its trial, and how many slices it would leave to people."""
        said, right = self.trial.ask(self.jury, self.vote, self.k)
        kept = said.margin >= self.threshold
        return {
            "name": self.name, "model": self.model, "classes": ", ".join(self.jury.classes),
            "references": len(self.jury.labels), "patients": len(set(self.jury.patients)), "chosen": self.chosen,
            "vote": self.vote, "threshold": self.threshold, "tried on": self.trial.how or "nothing",
            "accuracy": float(right.mean()) if len(right) else None,
            "kept": float(kept.mean()) if len(right) else None,
            "accuracy of those": float(right[kept].mean()) if kept.any() else None,
        }  # fmt: skip


def ruled(made: NamedJury, rule: str, k: int, target: float) -> NamedJury:
    """Give a jury a rule, with the threshold and the temperature that its trial asks for.

    Examples
    --------
    Without a trial it never abstains.

    >>> two = Jury(("a", "b"), ("a", "b"), ("p", "q"), ("1:0", "2:0"), np.eye(2), np.zeros((2, 1, 1)))
    >>> ruled(NamedJury("x", two, "shipped", "0", "c", "by hand"), "nearest", 1, 0.9).threshold
    0.0
    """
    from core.calibration import fit_temperature

    if not 0.5 <= target <= 1:
        raise InputError(f"The accuracy asked of a jury is from 0.5 to 1; received {target}.")
    threshold, reached, temperature = 0.0, False, 1.0
    said, right = made.trial.ask(made.jury, rule, k)
    if len(right):
        found = fit_margin(said.margin, right, target)
        threshold, reached = (0.0, False) if found is None else (found, True)
        temperature = fit_temperature(said.probabilities(), made.trial.truths)
    return replace(
        made, vote=rule, k=k, target=target, threshold=threshold, reached=reached, temperature=temperature
    )  # fmt: skip


def check_label(label: str) -> str:
    """Return a class's name without spaces around it.

    Raises
    ------
    InputError
        When it is no name.
    """
    label = str(label).strip()
    if not _LABEL.fullmatch(label):
        raise InputError(f"A class is named by 1 to 40 letters, digits, spaces and . + - * / ( ); received {label!r}.")
    return label


# Files ------------------------------------------------------------------------------------------------


def folder(model: str) -> Path:
    """Return where a model's juries lie; it need not exist.

    The shipped model's lie apart from its run, which is made anew whenever the demo is.
    """
    settings = get_settings()
    return settings.workspace / "juries" if model == runs.SHIPPED else settings.runs_dir / model / "juries"


def save(made: NamedJury) -> None:
    """Write a jury, all or nothing; one of the same name and model is replaced.

    Raises
    ------
    CohortError
        For a name that cannot be a file's.
    """
    check_name(made.name, "jury")
    facts = {name: getattr(made, name) for name in _FACTS} | {"how": made.trial.how}
    with replaced(_path(made.model, made.name)) as fresh, fresh.open("wb") as file:
        np.savez_compressed(
            file, facts=np.array(json.dumps(facts)), trial_cosines=made.trial.cosines.astype(np.float32),
            trial_truths=made.trial.truths, **{one.name: getattr(made.jury, one.name) for one in fields(Jury)},
        )  # fmt: skip


_FACTS = tuple(one.name for one in fields(NamedJury) if one.name not in ("jury", "trial"))


def read(name: str, model: registry.Model) -> NamedJury:
    """Read a jury of a model.

    Raises
    ------
    InputError
        When the model has none of that name.
    BundleError
        When its references are another model's embeddings, or the file is damaged.
    """
    check_name(name, "jury")
    path = _path(model.id, name)
    if not path.is_file():
        there = ", ".join(names(model.id)) or "none"
        raise InputError(f"{model.name} has no jury {name!r}; it has {there}. `python -m core jury make` makes one.")
    made = _read(path)
    if made.sha256 != model.sha256:
        raise BundleError(
            f"Jury {name!r} was made for another model ({made.sha256[:12]}…) than {model.id} has now "
            f"({model.sha256[:12]}…), so its references cannot be compared with its answers. Make the jury again."
        )
    return made


def _read(path: Path) -> NamedJury:
    try:
        with np.load(path, allow_pickle=False) as stored:
            jury = Jury.of(stored)
            facts = json.loads(str(stored["facts"]))
            trial = Trial(stored["trial_cosines"], stored["trial_truths"], facts.pop("how"))
        made = NamedJury(jury=jury, trial=trial, **facts)
        m = len(made.jury.codes)
        sound = np.isfinite(made.jury.embeddings).all() and len(made.jury.pictures) == m == len(made.jury.keys)
        fits = sound and len(made.jury.embeddings) == m and trial.cosines.size == m * len(trial.truths)
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise BundleError(f"The jury in {path.name} cannot be read ({type(error).__name__}). Make it again.") from None
    if not fits:
        raise BundleError(f"The jury in {path.name} does not fit together. Make it again.")
    return made


def names(model: str) -> list[str]:
    """List the juries of a model, by name."""
    return sorted(path.stem for path in folder(model).glob("*.npz") if not path.name.startswith("."))


def remove(name: str, model: str) -> None:
    """Delete a jury.

    Raises
    ------
    InputError
        When there is none.
    """
    check_name(name, "jury")
    path = _path(model, name)
    if not path.is_file():
        raise InputError(f"{model} has no jury {name!r}; it has {', '.join(names(model)) or 'none'}.")
    path.unlink()


def find(name: str, model: str | None = None) -> tuple[registry.Model, NamedJury]:
    """Find a jury by name.

    Parameters
    ----------
    name : str
    model : str, optional
        Whose it is; without, the current model's if it has one of that name, else that of the only one that has.

    Raises
    ------
    CoreError
        When there is none, more than one, or it cannot be used.
    """
    check_name(name, "jury")
    chosen = registry.find(model)
    if model is None and name not in names(chosen.id):
        having = [one for one in having_juries() if name in names(one)]
        if len(having) > 1:
            raise InputError(f"{', '.join(having)} each have a jury {name!r}. Say which with --model.")
        chosen = registry.find(having[0]) if having else chosen
    return chosen, read(name, chosen)


def having_juries() -> Iterator[str]:
    """Yield the models that have juries."""
    if names(runs.SHIPPED):
        yield runs.SHIPPED
    yield from sorted(path.parent.name for path in get_settings().runs_dir.glob("*/juries") if names(path.parent.name))


def every() -> Iterator[NamedJury | CoreError]:
    """Yield every jury of the workspace, or why one cannot be used."""
    for model in having_juries():
        for name in names(model):
            try:
                yield read(name, registry.find(model))
            except CoreError as error:
                yield error


def _path(model: str, name: str) -> Path:
    return folder(model) / f"{name}.npz"


Report = Callable[[int, int], None]
