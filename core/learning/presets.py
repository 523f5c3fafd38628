"""Presets: recipes for a run as data, and what a configuration changed in the one that it started from."""

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path

from core.config import RunConfig
from core.errors import ConfigError
from core.images import MODEL_SIZE

#: What a run is about rather than how it learns: no preset says anything about these.
FREE = ("name", "kind", "cohort", "label", "random_state", "devices", "preset")

#: Where Keras keeps ImageNet weights without their top, by backbone, under its home; and their size in MB.
_IMAGENET = {
    "ResNet50": ("resnet50_weights_*_notop.h5", 94),
    "MobileNetV2": ("mobilenet_v2_weights_*_no_top.h5", 9),
    "EfficientNetV2B0": ("efficientnetv2-b0_notop.h5", 24),
}


@dataclass(frozen=True)
class Preset:
    """A recipe.

    Attributes
    ----------
    name : str
    sentence : str
        What it is good for.
    values : dict
        Fields of `RunConfig` that differ from their defaults.
    by_kind : dict of dict
        The same, for one kind only.
    """

    name: str
    sentence: str
    values: dict[str, object]
    by_kind: dict[str, dict[str, object]]


#: In the order in which they are offered.
PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            "quick",
            "A result in about a minute on two processor cores: a head on features of the shipped network.",
            {"epochs": 15, "learning_rate": 3e-3, "augment_views": 1, "mc_samples": 20},
            {},
        ),
        Preset(
            "best",
            "Takes minutes: the head first, then the whole network at a low rate that falls along a cosine, until the "
            "validation patients gain no more.",
            {
                "epochs": 30, "fine_tune_epochs": 6, "learning_rate": 2e-3, "fine_tune_rate": 0.01,
                "optimiser": "adamw", "schedule": "cosine", "early_stopping": 5, "label_smoothing": 0.05,
                "augment_views": 2,
            },
            {},
        ),
        Preset(
            "original",
            "The student project of 2020: a dense layer on a frozen ResNet50 of 224 pixels that has learnt from "
            "ImageNet, rare classes repeated, slices changed as it changed them. The split is by patient, which its "
            "was not.",
            {
                "backbone": "ResNet50", "weights": "imagenet", "image_size": 224, "dropout": 0.0, "epochs": 15,
                "batch_size": 50, "augmentation": "original", "augment_views": 3, "class_balance": "oversample",
            },
            {
                # A Bayesian answer needs units to drop.
                "bayesian": {"dropout": 0.5},
                "siamese": {"batch_size": 32, "learning_rate": 3e-3, "epochs": 120},
            },
        ),
    )
}  # fmt: skip


def apply(config: RunConfig, preset: str) -> RunConfig:
    """Give a configuration a preset's recipe; what it is about stays.

    Parameters
    ----------
    config : RunConfig
    preset : {"quick", "best", "original"}

    Returns
    -------
    RunConfig

    Raises
    ------
    ConfigError
        For another name.

    Examples
    --------
    >>> config = apply(RunConfig("planes", "siamese", "phantom", label="plane", epochs=3), "original")
    >>> config.label, config.backbone, config.epochs, config.preset
    ('plane', 'ResNet50', 120, 'original')
    """
    if preset not in PRESETS:
        raise ConfigError(f"preset must be one of {', '.join(PRESETS)}. Received: {preset!r}.")
    kept = {field: getattr(config, field) for field in FREE}
    chosen = PRESETS[preset]
    return RunConfig(**{**kept, **chosen.values, **chosen.by_kind.get(config.kind, {}), "preset": preset})


def changed(config: RunConfig) -> dict[str, object]:
    """Return what a configuration changed in its preset: field and the preset's value.

    Fields that the run does not use, and configurations without a preset, change nothing.

    Examples
    --------
    >>> config = apply(RunConfig("x", "transfer", "phantom"), "quick")
    >>> changed(config), changed(replace(config, epochs=40, margin=0.5, random_state=3))
    ({}, {'epochs': 15})
    """
    if config.preset not in PRESETS:
        return {}
    start, ignored = apply(config, config.preset), config.ignored
    names = [field.name for field in fields(RunConfig) if field.name not in (*FREE, *ignored)]
    return {name: getattr(start, name) for name in names if getattr(start, name) != getattr(config, name)}


def usual_weights(backbone: str) -> str:
    """Name what a backbone usually starts from."""
    return "slicescope" if backbone == "slicescope" else "imagenet"


def missing_weights(config: RunConfig) -> str:
    """Say that a run would first have to fetch its weights from the network; empty when all is there."""
    if config.weights != "imagenet" or config.backbone not in _IMAGENET:
        return ""
    pattern, size = _IMAGENET[config.backbone]
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    if any((home / "models").glob(pattern)):
        return ""
    return (
        f"The ImageNet weights of {config.backbone} are not on this machine: {size} MB are fetched, once, when the run "
        "starts, and without a network it fails then. Nearest without one: the shipped slicescope network, or a "
        "weights file of your own."
    )


def nearest(config: RunConfig) -> RunConfig:
    """Return the same recipe on the shipped network, which is always there."""
    return replace(config, backbone="slicescope", weights="slicescope", image_size=MODEL_SIZE)
