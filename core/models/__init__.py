"""Models: four builders, each ``build(config, classes) -> keras.Model``."""

from core.models.classifier import build_bayesian, build_transfer
from core.models.dual_output import build_dual
from core.models.siamese import build_siamese

BUILDERS = {"transfer": build_transfer, "dual": build_dual, "bayesian": build_bayesian, "siamese": build_siamese}
