"""What a quarter of an hour with one's own labels is worth: a head trained on others, each subject left out once.

``SLICESCOPE_REAL_DATA=… python -m benchmarks.leave_one_out`` reads the folder with the shipped model, trains a linear
head on its frozen features with all subjects but one, asks it about that one, and prints accuracy before and after:
means over subjects, with 95 % intervals by bootstrap over subjects, for classes with at least five subjects.
"""

import time

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks import real_slices
from core import bundle, inference
from core.settings import WEIGHTS_DIR

LEAST_SUBJECTS = 5


def read() -> tuple[pd.DataFrame, dict[str, np.ndarray], np.ndarray]:
    """Rows with their truth, the shipped model's words by head (n,), and features (n, d)."""
    card = bundle.read_card(WEIGHTS_DIR)
    rows, images = real_slices.read()
    answer = inference.predict_local(WEIGHTS_DIR, images)
    words = {head: np.array(card["classes"][head])[proba.argmax(1)] for head, proba in answer.heads.items()}
    return rows, words, answer.embeddings


def interval(by_subject: pd.Series) -> tuple[float, float]:
    """95 % of the means of subjects drawn with replacement."""
    rng = np.random.default_rng(0)
    draws = rng.choice(by_subject.to_numpy(), (2000, len(by_subject))).mean(1)
    return tuple(np.quantile(draws, (0.025, 0.975)))


def main() -> None:
    rows, zero_shot, features = read()
    for head in ("plane", "sequence"):
        word = rows[f"{head}_true"].to_numpy(str)
        subject = rows["subject"].to_numpy(str)
        subjects_of = rows.groupby(f"{head}_true")["subject"].nunique()
        kept = np.isin(word, subjects_of.index[subjects_of >= LEAST_SUBJECTS])
        after = np.empty(len(rows), object)
        started = time.monotonic()
        for name in np.unique(subject[kept]):
            out = kept & (subject == name)
            others = kept & ~out
            # Each subject counts the same, however many slices it has.
            weight = 1 / pd.Series(subject[others]).map(pd.Series(subject[others]).value_counts())
            model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, class_weight="balanced"))
            model.fit(features[others], word[others], logisticregression__sample_weight=weight)
            after[out] = model.predict(features[out])
        spent = time.monotonic() - started
        print(
            f"{head}: {', '.join(np.unique(word[kept]))}; {len(np.unique(subject[kept]))} subjects, {kept.sum()} slices"
        )
        for title, said in (("shipped model", zero_shot[head]), ("with a head of its own", after)):
            right = pd.Series(said[kept] == word[kept]).groupby(subject[kept]).mean()
            low, high = interval(right)
            print(f"  {title}: {right.mean():.3f} ({low:.3f} to {high:.3f})")
        print(f"  training took {spent:.0f} s for all subjects together")


if __name__ == "__main__":
    main()
