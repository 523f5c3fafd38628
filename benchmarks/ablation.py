"""What each part of the phantoms is worth on real slices: small models, one change each.

``SLICESCOPE_REAL_DATA=… python -m benchmarks.ablation [ARM …] [--seeds N]`` trains a model an arm and seed from
phantoms alone (about 7 minutes each on two cores) and prints a table: shares of real slices named rightly, as the card
of the shipped weights counts them. Models and shards stay in the workspace, so a broken run resumes.
"""

import argparse
import os
from dataclasses import replace

from core import bundle, runs
from core.config import RunConfig
from core.phantom.nuisances import Nuisances
from core.settings import get_settings
from core.weights import Recipe, judge_on_real, make, phantoms_key

USUAL = Nuisances()
ARMS = {
    "usual": USUAL,
    "no contrast jitter": replace(USUAL, jitter=0.0),
    "no stripping or defacing": replace(USUAL, stripped=0.0, defaced=0.0),
    "no exports": replace(USUAL, cropped=0.0, stretched=0.0, bordered=0.0, windowed=0.0, toned=0.0, jpeg=0.0),
    "no coils, ghosts, ringing, grain": replace(USUAL, uneven=0.0, ghosts=0.0, ringing=0.0, grain=0.0),
    "rougher": replace(USUAL, jitter=0.08, noisy=0.5, ghosts=0.15, ringing=0.2, reformatted=0.25, windowed=0.5),
    "no reformats or coverage": replace(USUAL, reformatted=0.0, covered=0.0),
    "lesions as they fall": replace(USUAL, sick=0.0),
}
SMALL = Recipe(persons=40, held_back=4, slices_per_person=300, epochs=8)


def score(arm: str, seed: int) -> dict:
    """Train one arm with one seed, or find it trained; returns its scores on real slices and on its own phantoms."""
    recipe = replace(SMALL, odds=ARMS[arm], random_state=seed)
    name = f"ablation-{phantoms_key()}-{recipe.key}"
    place = get_settings().runs_dir / name
    if not (place / "bundle" / bundle.CARD_FILE).exists():
        model, card = make(recipe, os.cpu_count() or 1)
        if not place.exists():
            runs.create_run(RunConfig(name=arm, kind="dual", cohort="phantom"), name)
        bundle.save(model, card, place / "bundle")
    card = bundle.read_card(place / "bundle")
    real = card["scores"].get("real") or judge_on_real(get_settings().real_data, name)
    bundle.update_card(place / "bundle", scores={**card["scores"], "real": real})
    return {"real": real, **card["scores"]}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__.splitlines()[0])
    parser.add_argument("arm", nargs="*", default=list(ARMS), help=", ".join(ARMS))
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    if not get_settings().real_data:
        parser.error("name a folder of real MRI with labels.csv in SLICESCOPE_REAL_DATA")
    print("arm | seed | plane | sequence | phantom plane | phantom sequence", flush=True)
    for arm in options.arm:
        for seed in range(options.seeds):
            found = score(arm, seed)
            own = found["phantoms"]
            print(
                f"{arm} | {seed} | {found['real']['plane']:.3f} | {found['real']['sequence']:.3f} | "
                f"{own['plane']['accuracy']:.3f} | {own['sequence']['accuracy']:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
