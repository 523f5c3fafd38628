"""Which maps may be believed: limits of the trust badge, and what they say of every method and kind of model.

``python -m benchmarks.badge RUN [RUN …] [--write]`` takes finished runs that know the classic sequences, makes maps of
phantom slices by every method, and measures the four checks. It wants the shortcut demonstration in the workspace:
``python -m core demo --shortcut``.

Limits are chosen on the people of one phantom cohort (seed 11). Three lie where they best tell maps that should pass
from maps that should not, by balanced accuracy:

- *model*: Grad-CAM against guided gradients, which Adebayo et al. (2018) found to pass and to fail;
- *head*: Grad-CAM of the models against Grad-CAM of the demonstration's model that reads a letter, on the same slices
  with letters (`core.explanations.shortcut`);
- *stable*: Grad-CAM of the model against Grad-CAM of the same network with random weights.

*Decision* is the lowest limit that only one map in twenty reaches which should not: Grad-CAM of weight-randomised
twins, held against the model as well as against the twin that made it. Balanced accuracy would let more of those pass.

They are judged on the people of another cohort (seed 15), over all methods and runs, and on models that must fail: the
same networks with random weights, and the model that reads a letter. Seeds 12 to 14 were judges while the checks were
being made, and are none any more. Maps for T1CE are held against where the phantoms' tumours take up agent, and against
where agent goes at all (`benchmarks.pointing`).

``--write`` puts the limits into ``core/explanations/badge_limits.json`` and the tables into ``docs/explanations.md``.
"""

import argparse
import json
import time
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from benchmarks.phantom_truth import Truth, slices_of
from benchmarks.pointing import pointing, pointing_table
from core import inference, runs
from core.bundle import read_card
from core.explanations import in_process, sanity, shortcut
from core.explanations.badge import CHECKS, LIMITS_FILE, VERDICTS, Badge, Check
from core.explanations.head_frame import head_mask
from core.explanations.jury import called_at
from core.explanations.methods import made
from core.explanations.question import LAYERED, METHOD_WORDS, SLOW, Question
from core.explanations.shortcut_cohorts import LETTERS, stamped
from core.images import to_model_input
from core.settings import PROJECT_DIR

CHOSEN_ON, JUDGED_ON = 11, 15
DOCS = PROJECT_DIR / "docs" / "explanations.md"
#: Tables in the docs: models that have learnt, the same with random weights, and the one that reads letters.
TABLES = ("badge", "untrained", "shortcut")
#: Slices that slow methods are asked about, as a share of the others'.
_SLOW_SHARE = 0.15


class Asked:
    """A run's model and its twins, ready to be asked for maps."""

    def __init__(self, run: runs.Run, untrained: bool = False, name: str = ""):
        self.card = read_card(run.bundle)
        self.head = "sequence"
        self.classes = self.card["classes"][self.head]
        key = (*inference.model_key(run.bundle, self.card), self.head, called_at(run.bundle))
        self.twins = [in_process._twin_view(*key, seed) for seed in range(in_process._TWINS)]
        # The untrained one is none of the twins that it is compared with.
        self.view = in_process._twin_view(*key, 99) if untrained else in_process._view(*key)
        self.size = self.card["input_shape"][0]
        backbone = run.config.backbone if run.id != runs.SHIPPED else "slicescope"
        name = name or ("the shipped model (dual)" if run.id == runs.SHIPPED else f"{self.card['kind']}, {backbone}")
        self.name = name

    def answers(self, images: np.ndarray) -> np.ndarray:
        """The class of each slice."""
        return self.view.predict_on_batch(images[..., None]).argmax(axis=1)

    def make(self, method: str):
        """A method as `core.explanations.sanity` wants it."""
        question, mirrored = Question(self.head, method=method), bool(self.card.get("mirrored"))
        layer = self.card["cam_layer"]
        return lambda view, images, chosen: made(question, view, images, chosen, layer, None, mirrored)[0]

    def measure(self, method: str, images: np.ndarray) -> tuple[np.ndarray, sanity.Sanity, np.ndarray]:
        """Maps of the model's own answers, the four numbers, and the classes."""
        make, chosen = self.make(method), self.answers(images)
        heat = make(self.view, images, chosen)
        spill = sanity.spill_of(self.view, self.card["cam_layer"]) if method in LAYERED else 0.0
        return heat, sanity.measure(make, self.view, self.twins, images, heat, chosen, None, spill), chosen


def best_cut(good: np.ndarray, bad: np.ndarray, at_most: bool) -> float:
    """The limit that best tells good from bad, by balanced accuracy; the middle of the best ones."""
    good, bad = (values[np.isfinite(values)] for values in (good, bad))
    cuts = np.unique(np.concatenate([good, bad]))
    cuts = (cuts[1:] + cuts[:-1]) / 2
    passes = (lambda values: values[:, None] <= cuts) if at_most else (lambda values: values[:, None] >= cuts)
    score = passes(good).mean(axis=0) + 1 - passes(bad).mean(axis=0)
    return float(np.median(cuts[score >= score.max() - 1e-9]))


def strict_cut(bad: np.ndarray) -> float:
    """The lowest limit that only one in twenty of the bad reaches."""
    return float(np.nanpercentile(bad, 95))


def with_letters(truth: Truth) -> Truth:
    """The slices with their sequence's letter burnt in, as the demonstration does it."""
    whole = [np.round(1000 * image).astype("<u2") for image in truth.images]
    marked = [stamped(image, LETTERS[name]) for image, name in zip(whole, truth.sequences, strict=True)]
    return replace(truth, images=(np.array(marked) / 1000).astype(np.float32))


def choose(asked: list[Asked], random: list[Asked], reader: Asked, truth: Truth) -> dict[str, float]:
    """Choose the limits; see the module's words for what is held against what."""
    good: dict[str, list] = {name: [] for name in CHECKS}
    bad: dict[str, list] = {name: [] for name in CHECKS}
    for one, untrained in zip(asked, random, strict=True):
        images = resized(truth.images, one.size)
        _, found, chosen = one.measure("grad_cam", images)
        for name, values in good.items():
            values.append(getattr(found, name))
        bad["model"].append(one.measure("guided_gradients", images)[1].model)
        of_random = untrained.measure("grad_cam", images)[1]
        bad["stable"].append(of_random.stable)
        wrong = one.make("grad_cam")(one.twins[0], images, chosen)
        bad["decision"] += [of_random.decision, decisions(one, images, wrong, chosen)]
    letters = with_letters(truth)
    says = np.array(reader.classes)[reader.answers(resized(letters.images, reader.size))]
    print(f"the model that reads letters is right on {np.mean(says == truth.sequences):.0%} of slices with letters")
    bad["head"].append(reader.measure("grad_cam", resized(letters.images, reader.size))[1].head)
    limits = {}
    for name, wording in CHECKS.items():
        fine, not_fine = np.concatenate(good[name]), np.concatenate(bad[name])
        best = best_cut(fine, not_fine, wording.at_most)
        limits[name] = round(strict_cut(not_fine) if name == "decision" else best, 2)
        print(f"{name} {limits[name]} (best {best:.2f}) good {spread(fine)} bad {spread(not_fine)}", flush=True)
    return limits


def decisions(one: Asked, images: np.ndarray, heat: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """How much maps, whoever made them, matter to a model's decision."""
    ask = sanity._probability(one.view, None)
    rows = zip(images, heat, chosen, strict=True)
    return np.array(
        [sanity.decides(ask, image, its, int(at), head_mask(image)) if its.any() else np.nan for image, its, at in rows]
    )


def spread(values: np.ndarray) -> str:
    """Tenth, fiftieth and ninetieth percentile."""
    return " ".join(f"{value:.2f}" for value in np.nanpercentile(values, (10, 50, 90)))


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """Slices at the side that a model wants."""
    if images.shape[1] == size:
        return images
    return np.stack([to_model_input(image, size=size)[0] for image in images])


def judge(one: Asked, truth: Truth, limits: dict[str, float], table: str) -> list[dict]:
    """Shares of slices that pass, a row a method, for one of the tables."""
    rows = []
    for method in METHOD_WORDS:
        n = max(3, round(_SLOW_SHARE * len(truth.images))) if method in SLOW else len(truth.images)
        part = truth.part(np.linspace(0, len(truth.images) - 1, n).round().astype(int))
        heat, found, _ = one.measure(method, resized(part.images, one.size))
        badges = [
            Badge("", tuple(Check(name, found.values(at)[name], limits[name]) for name in CHECKS), not heat[at].any())
            for at in range(n)
        ]
        row = {"of": one.name, "table": table, "method": method, "slices": n}
        for at, name in enumerate(CHECKS):
            row[name] = float(np.mean([badge.checks[at].passed for badge in badges]))
            row[f"median of {name}"] = float(np.nanmedian(getattr(found, name)))
        rows.append(
            row | {verdict: float(np.mean([badge.verdict == verdict for badge in badges])) for verdict in VERDICTS}
        )
        print(rows[-1], flush=True)
    return rows


def badge_table(rows: pd.DataFrame) -> str:
    """Shares of slices that pass, in percent, a row a model and method."""
    titles = " | ".join(wording.title for wording in CHECKS.values())
    lines = [f"| model | method | slices | {titles} | *{VERDICTS[0]}* | *{VERDICTS[1]}* | *{VERDICTS[2]}* |"]
    lines.append("| --- | --- " + "| ---: " * (len(CHECKS) + 4) + "|")
    for row in rows.to_dict("records"):
        cells = " | ".join(f"{100 * row[name]:.0f}" for name in (*CHECKS, *VERDICTS))
        method = METHOD_WORDS[row["method"]].replace(" (slow)", "")
        lines.append(f"| {row['of']} | {method} | {row['slices']} | {cells} |")
    return "\n".join(lines)


def medians_table(rows: pd.DataFrame) -> str:
    """The four numbers by method, a value a table: medians over models of medians over slices."""
    names = [f"median of {name}" for name in CHECKS]
    means = rows.groupby(["table", "method"])[names].median()
    lines = ["| method | " + " | ".join(wording.title for wording in CHECKS.values()) + " |"]
    lines.append("| --- " + "| ---: " * len(CHECKS) + "|")
    for method, words in METHOD_WORDS.items():
        cells = []
        for name in names:
            cells.append(" / ".join(f"{means.loc[(table, method), name]:.2f}" for table in TABLES))
        lines.append(f"| {words.replace(' (slow)', '')} | {' | '.join(cells)} |")
    return "\n".join(lines)


def put(text: str, mark: str, body: str) -> str:
    """Replace what stands between two marks."""
    first, rest = text.split(f"<!-- {mark} -->")
    return f"{first}<!-- {mark} -->\n{body}\n<!-- /{mark} -->{rest.split(f'<!-- /{mark} -->')[1]}"


def write(limits: dict[str, float], rows: pd.DataFrame, points: pd.DataFrame) -> None:
    """Put limits and tables where they belong."""
    date = datetime.now(UTC).date().isoformat()
    made_by = {"by": "python -m benchmarks.badge", "date": date, "limits": limits}
    LIMITS_FILE.write_text(json.dumps(made_by, indent=2) + "\n", "utf-8")
    text = DOCS.read_text("utf-8")
    said = ", ".join(
        f"{CHECKS[name].title.lower()} {'at most' if CHECKS[name].at_most else 'at least'} {limit:.2f}"
        for name, limit in limits.items()
    )
    cohorts = f"chosen on the people of seed {CHOSEN_ON}, judged on those of seed {JUDGED_ON}"
    text = put(text, "limits", f"Limits of {date}, {cohorts}: {said}.")
    for table in TABLES:
        text = put(text, table, badge_table(rows[rows["table"] == table]))
    text = put(text, "numbers", medians_table(rows))
    DOCS.write_text(put(text, "pointing", pointing_table(points)), "utf-8")


def main() -> None:
    """Choose, judge, and write on demand."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="*", default=[runs.SHIPPED])
    parser.add_argument("--patients", type=int, default=6, help="of each cohort")
    parser.add_argument("--slices", type=int, default=48, help="of each cohort at most")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    made = shortcut.result()
    if made is None:
        parser.error("the shortcut demonstration is not there: python -m core demo --shortcut")
    began = time.monotonic()
    first, second = (slices_of(seed, options.patients) for seed in (CHOSEN_ON, JUDGED_ON))
    drawn = np.random.default_rng(0)
    some, every = (
        truth.part(np.sort(drawn.permutation(len(truth.images))[: options.slices])) for truth in (first, second)
    )
    sick = [truth.part((truth.sequences == "T1CE") & (truth.tumour.sum(axis=(1, 2)) >= 4)) for truth in (first, second)]
    # Nothing was chosen by where tumours are, so both cohorts' may be looked at.
    sick = Truth(*(np.concatenate(pair) for pair in zip(*(vars(part).values() for part in sick), strict=True)))
    sick = sick.part(np.sort(drawn.permutation(len(sick.images))[: options.slices]))
    print(f"{len(some.images)} slices to choose on, {len(every.images)} to judge on, {len(sick.images)} with tumour")
    chosen = [runs.read_run(name) for name in options.runs]
    asked, random = [Asked(run) for run in chosen], [Asked(run, untrained=True) for run in chosen]
    reader = Asked(runs.read_run(made.runs["shortcut"]), name="transfer, reads a letter")
    limits = choose(asked, random, reader, some)
    half = every.part(np.arange(0, len(every.images), 2))
    rows, points = judge(reader, with_letters(half), limits, "shortcut"), []
    for one, untrained in zip(asked, random, strict=True):
        rows += judge(one, every, limits, "badge") + judge(untrained, half, limits, "untrained")
        points += pointing(one, sick)
        if options.write:
            write(limits, pd.DataFrame(rows), pd.DataFrame(points))
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
