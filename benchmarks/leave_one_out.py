"""What a few minutes with one's own labels are worth: heads trained on others, each subject left out once.

``SLICESCOPE_REAL_DATA=… python -m benchmarks.leave_one_out`` reads the folder with the shipped model and trains heads
on its frozen features with all subjects but one, then asks them about that one: the head of a run as the preset
*quick* trains it, and a logistic regression on the same features, for what they hold. It prints accuracy before and
after: means over subjects, with 95 % intervals by bootstrap over subjects, for classes with at least five subjects.
"""

import time
from collections.abc import Callable

import keras
import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks import real_slices, training
from core import batches, bundle, inference
from core.config import RunConfig
from core.learning import fitting, presets
from core.learning.features import forward
from core.models import BUILDERS
from core.settings import WEIGHTS_DIR


def as_a_run(head: str, images: np.ndarray, words: np.ndarray, subject: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Train a head as a run of the preset quick does, and return what it says of the slices that are left out."""
    config = presets.apply(RunConfig("left out", "transfer", "real", label=head), "quick")
    names, y = np.unique(words, return_inverse=True)
    classes = {head: names.tolist()}
    keras.utils.set_random_seed(0)
    model = BUILDERS["transfer"](config, classes)
    training.ours(model, fitting.Data(images, {head: y}, subject, np.where(out, "test", "train"), classes), config)
    (proba,), _ = forward(model, images[out], mirrored=True)
    return names[proba.argmax(1)]


def by_regression(features: np.ndarray, words: np.ndarray, subject: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Fit a logistic regression with the same weights of slices, and return what it says of those left out."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    weights = batches.balanced_weights(np.unique(words[~out], return_inverse=True)[1], subject[~out])
    model.fit(features[~out], words[~out], logisticregression__sample_weight=weights)
    return model.predict(features[out])


def left_out(subject: np.ndarray, ask: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Let each subject be left out once: what ``ask`` says of the slices that it is told to leave out, (n,)."""
    said = np.empty(len(subject), object)
    for name in np.unique(subject):
        out = subject == name
        said[out] = ask(out)
    return said


def interval(by_subject: pd.Series) -> tuple[float, float]:
    """95 % of the means of subjects drawn with replacement."""
    rng = np.random.default_rng(0)
    draws = rng.choice(by_subject.to_numpy(), (2000, len(by_subject))).mean(1)
    return tuple(np.quantile(draws, (0.025, 0.975)))


def main() -> None:
    card = bundle.read_card(WEIGHTS_DIR)
    rows, all_images = real_slices.read()
    answer = inference.predict_local(WEIGHTS_DIR, all_images)
    for head, proba in answer.heads.items():
        subjects_of = rows.groupby(f"{head}_true")["subject"].nunique()
        kept = rows[f"{head}_true"].isin(subjects_of.index[subjects_of >= real_slices.LEAST_SUBJECTS]).to_numpy()
        words, subject = (rows.loc[kept, name].to_numpy(str) for name in (f"{head}_true", "subject"))
        images, features = all_images[kept], answer.embeddings[kept]
        print(f"{head}: {', '.join(np.unique(words))}; {len(np.unique(subject))} subjects, {len(words)} slices")
        shipped = np.array(card["classes"][head])[proba[kept].argmax(1)]
        arms = {
            "shipped model": lambda out, said=shipped: said[out],
            "head of a quick run": lambda out, given=(head, images, words, subject): as_a_run(*given, out),
            "logistic regression": lambda out, given=(features, words, subject): by_regression(*given, out),
        }
        for title, ask in arms.items():
            started = time.monotonic()
            right = pd.Series(left_out(subject, ask) == words).groupby(subject).mean()
            low, high = interval(right)
            spent = time.monotonic() - started
            print(f"  {title}: {right.mean():.3f} ({low:.3f} to {high:.3f}), {spent:.0f} s for all", flush=True)


if __name__ == "__main__":
    main()
