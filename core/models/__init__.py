"""Models: four builders, each ``build(config, classes) -> keras.Model``."""

from dataclasses import replace

import keras

from core.config import RunConfig
from core.models.classifier import build_bayesian, build_transfer
from core.models.dual_output import build_dual
from core.models.siamese import build_siamese

BUILDERS = {"transfer": build_transfer, "dual": build_dual, "bayesian": build_bayesian, "siamese": build_siamese}


def float32_twin(config: RunConfig, classes: dict[str, list[str]]) -> keras.Model | None:
    """Build the model that a run in mixed precision is saved as; None for other runs, which need none.

    Its weights fit those of the run's own model, which are in single precision as well, and it computes in single
    precision wherever it is loaded.
    """
    if not config.mixed_precision:
        return None
    return BUILDERS[config.kind](replace(config, mixed_precision=False, weights="none"), classes)
