"""The recipe behind ``make weights``: phantoms in, the shipped model out. No real pixel takes part.

Each step leaves its result in the workspace and is skipped when it is there, so a broken run resumes:

1. *shards*: phantom people, each rendered in every sequence and plane (`core.phantom.render.training_slices`), and
   beside them pictures of other things (`core.phantom.other`);
2. *training*: the dual-output network, and a plane through its features that parts brains from other things, on all
   shards but those of the held-back people; an exponential moving average of the weights, a checkpoint each epoch;
3. *judgement*: temperature, thresholds and scores on the held-back people, written into the card; where
   ``SLICESCOPE_REAL_DATA`` names a folder of real MRI, its scores too.
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

from core import bundle
from core.settings import WEIGHTS_DIR, get_settings
from core.shipping.judging import asker, judge
from core.shipping.network import train
from core.shipping.real_files import judge_on_real
from core.shipping.recipe import LARGE, Recipe, going_on, phantoms_key, processor_policy
from core.shipping.shards import load, make_shards


def make(recipe: Recipe, workers: int):
    """Take the steps up to a judged model, each only as far as it is not there yet; returns model and card."""
    # Other phantoms, other slices: what an earlier version of them left must not be gone on with.
    folder = get_settings().workspace / "weights" / phantoms_key()
    shards = make_shards(recipe, folder / f"shards-{recipe.shards_key}", workers)
    model, classes, brain = train(recipe, load(shards[: recipe.persons]), folder / f"checkpoint-{recipe.key}")
    card = judge(asker(model), classes, brain, recipe, shards[recipe.persons :])
    if recipe.start:
        before = bundle.read_card(WEIGHTS_DIR)
        card["started_from"] = {name: before[name] for name in ("sha256", "recipe", "phantoms")}
    return model, card


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m core.weights", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS_DIR)
    parser.add_argument("--large", action="store_true", help="with teachers, and more people: wants a GPU")
    parser.add_argument("--go-on", action="store_true", help="go on from the shipped weights with today's phantoms")
    for name in ("persons", "held_back", "slices_per_person", "epochs", "batch_size"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int)
    parser.add_argument("--seed", type=int, dest="random_state")
    parser.add_argument(
        "--dtype-policy",
        help="of Keras; mixed_bfloat16 where that is fast, on a GPU (--large) and on processors that compute in it",
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    options = vars(parser.parse_args())
    out, workers, large, go_on = (options.pop(name) for name in ("out", "workers", "large", "go_on"))
    given = {name: value for name, value in options.items() if value is not None}
    if not large:
        given.setdefault("dtype_policy", processor_policy())
    recipe = replace(going_on(large) if go_on else LARGE if large else Recipe(), **given)
    started = time.monotonic()
    model, card = make(recipe, workers)
    bundle.save(model, card, out)
    real = get_settings().real_data
    if real and out.resolve() == WEIGHTS_DIR.resolve():  # models are asked in their registered place only
        card = bundle.update_card(out, scores={**card["scores"], "real": judge_on_real(real)})
    print(json.dumps(card["scores"], indent=2))
    print(f"The shipped weights are made, in {(time.monotonic() - started) / 60:.0f} minutes.")


if __name__ == "__main__":
    main()
