"""Presets, and the options of ``train``, which are the fields of a run's configuration."""

import json
from dataclasses import fields, replace

import pytest

from core import jobs, runs
from core.__main__ import main
from core.config import KINDS, RunConfig
from core.errors import ConfigError
from core.learning import presets


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", presets.PRESETS)
def test_a_preset_is_valid_keeps_what_the_run_is_about_and_changes_nothing_in_itself(name, kind):
    about = RunConfig("mine", kind, "here", label="plane", random_state=9, devices=2, epochs=999)
    config = presets.apply(about, name)
    config.validate()
    assert {f: getattr(config, f) for f in presets.FREE} == {
        **{f: getattr(about, f) for f in presets.FREE}, "preset": name,
    }  # fmt: skip
    assert config.epochs != 999
    assert presets.changed(config) == {}


def test_every_field_but_the_free_and_the_ignored_counts_as_a_change():
    start = presets.apply(RunConfig("x", "siamese", "c"), "best")
    other = {
        "backbone": "ResNet50", "weights": "none", "split": "slice", "optimiser": "sgd", "schedule": "constant",
        "class_balance": "none", "augmentation": "original", "pair_loss": "contrastive", "fractions": (0.8, 0.1, 0.1),
        "mixed_precision": True, "train_share": 0.5,
    }  # fmt: skip
    for field in fields(RunConfig):
        value = getattr(start, field.name)
        given = other.get(field.name, value + 1 if isinstance(value, int | float) else f"{value}-")
        differs = presets.changed(replace(start, **{field.name: given}))
        expected = {} if field.name in (*presets.FREE, *start.ignored) else {field.name: value}
        assert differs == expected, field.name
    assert presets.changed(replace(start, preset="", epochs=1)) == {}
    with pytest.raises(ConfigError, match="quick, best, original"):
        presets.apply(start, "fast")


def test_the_original_recipe_is_the_student_projects():
    config = presets.apply(RunConfig("x", "transfer", "c"), "original")
    assert (config.backbone, config.weights, config.image_size, config.fine_tune_epochs) == (
        "ResNet50",
        "imagenet",
        224,
        0,
    )
    assert (config.optimiser, config.learning_rate, config.dropout) == ("adam", 1e-3, 0.0)
    assert (config.augmentation, config.class_balance, config.split) == ("original", "oversample", "patient")


# The command


@pytest.fixture
def asked(workspace, monkeypatch):
    sent: list[RunConfig] = []

    def submit(config, **launch):
        config.validate()
        sent.append(config)
        return runs.create_run(config, "asked")

    monkeypatch.setattr(jobs, "submit", submit)
    return sent


def train(*options: str) -> int:
    return main(["train", *options, "--no-wait"])


def test_every_field_is_an_option(asked):
    wanted = RunConfig(
        "again", "siamese", "made", label="plane", backbone="MobileNetV2", weights="none", image_size=50, epochs=7,
        fine_tune_epochs=3, batch_size=33, learning_rate=0.00123, dropout=0.37, augment_views=5, mc_samples=9,
        jury_size=2, fractions=(0.5, 0.3, 0.2), random_state=12, split="slice", train_share=0.33, optimiser="sgd",
        schedule="cosine", early_stopping=4, class_balance="none", label_smoothing=0.11, augmentation="original",
        pair_loss="contrastive", margin=0.7, fine_tune_rate=0.013, mixed_precision=True, devices=2, preset="quick",
    )  # fmt: skip
    options = []
    for name, value in json.loads(wanted.to_json()).items():
        assert value != getattr(RunConfig, name, None), f"{name} is tried at its default"
        flag = f"--{name.replace('_', '-')}"
        values = [] if value is True else map(str, value) if isinstance(value, list) else [str(value)]
        options += [flag, *values]
    assert train(*options) == 0
    assert asked == [wanted]


def test_a_preset_comes_first_and_options_change_it(asked, tmp_path):
    assert train("--kind", "dual", "--preset", "best", "--epochs", "3") == 0
    assert asked.pop() == replace(presets.apply(RunConfig("dual", "dual", "phantom"), "best"), epochs=3)
    assert train("--kind", "dual", "--preset", "best", "--backbone", "ResNet50") == 0
    assert asked.pop().weights == "imagenet"
    path = tmp_path / "config.json"
    path.write_text(RunConfig("mine", "transfer", "here", label="plane", epochs=99, mixed_precision=True).to_json())
    assert train(str(path), "--no-mixed-precision", "--kind", "siamese", "--preset", "original") == 0
    expected = presets.apply(RunConfig("mine", "siamese", "here", label="plane"), "original")
    assert asked.pop() == expected
    assert train(str(path), "--split", "cohort", "--fractions", "0.8", "0.1", "0.1") == 0
    assert asked.pop() == replace(RunConfig.from_json(path), split="cohort", fractions=(0.8, 0.1, 0.1))


def test_options_that_a_run_does_not_use_are_said_so(asked, capsys):
    assert train("--kind", "dual", "--label", "plane", "--margin", "0.5") == 0
    said = capsys.readouterr().out
    assert "--label is not used: dual output learns plane and sequence." in said
    assert "--margin is not used" in said and "--pair-loss" not in said
    assert train("--kind", "dual", "--preset", "fast") == 2
    assert train("--kind", "siamese", "--margin", "9") == 2
    assert "margin must lie between 0.1 and 2" in capsys.readouterr().err
