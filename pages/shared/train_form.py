"""The form of a new run: a preset first, then what to learn, from what, and how; changes to the preset are marked.

Each field of a run's configuration is a widget of the same name, whose value stands in the address unless it is the
preset's own: a link reopens the form as it was.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import streamlit as st

from core import cohort
from core.config import CHOICES, KINDS, LABELS, RANGES, WEIGHT_FILES, RunConfig
from core.errors import CoreError, InputError
from core.learning import presets
from core.learning.run_words import WORDS
from pages.shared import indexing, state

MEANINGS = {
    "transfer": "Transfer learning: one answer from a backbone that has learnt elsewhere.",
    "dual": "Dual output: one model that answers plane and sequence at once.",
    "bayesian": "Bayesian: many Monte-Carlo dropout passes tell how sure it is.",
    "siamese": "Siamese: learns which slices are alike, and lets a jury of reference slices vote.",
}
#: Instead of a preset: nothing to differ from.
OWN = "own"
FILE = "file"
#: What the form follows: the preset's configuration when it was last drawn.
_START = "form_start"
#: Percent of patients, in place of the configuration's three shares.
_HELD = {"held_validation": ("Validation (%)", 1), "held_test": ("Test (%)", 2)}
_STEPS = {
    "image_size": 32, "learning_rate": 1e-3, "fine_tune_rate": 0.01, "dropout": 0.05, "train_share": 0.05,
    "label_smoothing": 0.05, "margin": 0.1, "mc_samples": 10, "batch_size": 16,
}  # fmt: skip
_GROUPS = {
    "Steps": (
        "learning_rate", "optimiser", "schedule", "batch_size", "early_stopping", "fine_tune_rate", "dropout",
        "label_smoothing", "devices", "mixed_precision",
    ),
    "Slices": (
        "split", *_HELD, "train_share", "random_state", "class_balance", "augment_views", "augmentation",
    ),
    "Answers": ("mc_samples", "jury_size", "pair_loss", "margin"),
}  # fmt: skip


def draw(name: str) -> RunConfig:
    """Draw the form for a cohort and return the configuration it describes; it need not be valid yet."""
    preset = st.segmented_control(
        "Preset", [*presets.PRESETS, OWN], default="quick", key="preset", bind="query-params", required=True,
        help="The recipe to start from; every choice below can be changed.",
    )  # fmt: skip
    st.caption(presets.PRESETS[preset].sentence if preset in presets.PRESETS else "Every choice is yours.")
    notes = st.container()
    kind = st.segmented_control("Kind", KINDS, default="transfer", key="kind", bind="query-params", required=True)
    st.caption(MEANINGS[kind])
    label = "sequence"
    if kind != "dual":
        label = st.segmented_control(
            "Label", LABELS, default="sequence", key="label", bind="query-params", required=True,
            help=WORDS["label"][1],
        )  # fmt: skip
    start = _start(kind, label, name, preset)
    _follow(start)
    values = {**_backbone(start), **_learning(start)}
    values["name"] = st.text_input("Name", start.name, max_chars=60, key="name", bind="query-params")
    config = replace(start, **values)
    with notes:
        _notes(config, start)
    return config


def prefill(config: RunConfig) -> None:
    """Set the form to a configuration, for example of a run that is to be repeated with changes; call it in a callback.

    Parameters
    ----------
    config : RunConfig
        A cohort that is no longer there leaves the sidebar's choice as it is.
    """
    start = _start(config.kind, config.label, config.cohort, config.preset)
    values = {"preset": config.preset or OWN, "kind": config.kind, "label": config.label, "name": config.name}
    st.session_state.update(values | _widgets(config))
    st.session_state[_START] = start
    if config.cohort in cohort.list_cohorts():
        state.choose(**{state.COHORT: config.cohort})


def weights_file(text: str) -> Path:
    """Return the weights file that a person named, if it may be used.

    Raises
    ------
    InputError
        It is no weights file, does not exist, or lies outside the workspace and what this server may index.
    """
    path = indexing.within_roots(text)
    if not path.name.endswith(WEIGHT_FILES) or not path.is_file():
        raise InputError(f"There is no .keras or .weights.h5 file {text!r} on the server. Check the spelling.")
    return path


def _start(kind: str, label: str, name: str, preset: str) -> RunConfig:
    """Return what the form shows for a cohort before anything is changed."""
    config = RunConfig(kind if kind == "dual" else f"{kind} {label}", kind, name, label=label)
    return presets.apply(config, preset) if preset in presets.PRESETS else config


def _widgets(config: RunConfig) -> dict[str, object]:
    """Return the value of each widget that shows a configuration."""
    values = {field.name: getattr(config, field.name) for field in fields(config) if field.name not in presets.FREE}
    values |= {key: round(100 * config.fractions[at]) for key, (_, at) in _HELD.items()}
    values |= {"random_state": config.random_state, "devices": config.devices}
    if str(config.weights).endswith(WEIGHT_FILES):
        values |= {"weights": FILE, "weights_file": config.weights}
    del values["fractions"]
    return values


def _follow(start: RunConfig) -> None:
    """Give untouched widgets the values of another preset or kind; another preset resets what was touched, too."""
    before: RunConfig | None = st.session_state.get(_START)
    st.session_state[_START] = start
    if before is None or before == start:
        return
    old, new = {**_widgets(before), "name": before.name}, {**_widgets(start), "name": start.name}
    for key, value in new.items():
        touched = st.session_state.get(key) != old[key]
        if key in st.session_state and (not touched or (before.preset != start.preset and key != "name")):
            st.session_state[key] = value


def _backbone(start: RunConfig) -> dict[str, object]:
    one, two, three = st.columns([1.2, 1.2, 1])
    values: dict[str, object] = {}
    _field(one, "backbone", start, values)
    usual = presets.usual_weights(values["backbone"])
    options = [usual, "none", FILE]
    if st.session_state.get("weights", usual) not in options:
        st.session_state["weights"] = usual
    at = options.index(start.weights) if start.weights in options else 0
    chosen = two.selectbox(
        WORDS["weights"][0], options, at, key="weights", bind="query-params", help=_help("weights", start)
    )
    _field(three, "image_size", start, values)
    if chosen == FILE:
        text = st.text_input(
            "Weights file", key="weights_file", bind="query-params",
            placeholder="/data/weights/RadImageNet-ResNet50.weights.h5",
            help="A .keras or .weights.h5 of this backbone, on the server's disk.",
        )  # fmt: skip
        try:
            chosen = str(weights_file(text)) if text else FILE
        except CoreError as error:
            st.error(str(error))
    return {**values, "weights": chosen}


def _learning(start: RunConfig) -> dict[str, object]:
    values: dict[str, object] = {}
    for column, name in zip(st.columns(2), ("epochs", "fine_tune_epochs"), strict=True):
        _field(column, name, start, values)
    tabs = zip(st.tabs(list(_GROUPS)), _GROUPS.values(), strict=True)
    # The last first: its pair loss decides whether there is anything to smooth.
    for tab, names in reversed(list(tabs)):
        for first in range(0, len(names), 3):
            for column, name in zip(tab.columns(3), names[first : first + 3], strict=False):
                draw_one = _held if name in _HELD else _field
                draw_one(column, name, start, values)
    return values


def _held(place, key: str, start: RunConfig, values: dict[str, object]) -> None:
    title, at = _HELD[key]
    shares = list(values.get("fractions", start.fractions))
    shares[at] = place.number_input(
        title, 0, 90, round(100 * start.fractions[at]), 5, key=key, bind="query-params",
        disabled="fractions" in replace(start, **values).ignored, help=_help("fractions", start),
    ) / 100  # fmt: skip
    values["fractions"] = (round(1 - shares[1] - shares[2], 9), shares[1], shares[2])
    if "fractions" not in replace(start, **values).ignored:
        _mark(place, start, round(100 * shares[at]), round(100 * start.fractions[at]))


def _field(place, name: str, start: RunConfig, values: dict[str, object]) -> None:
    """Draw the widget of one field, and put what it says among the values."""
    title, default = WORDS[name][0], getattr(start, name)
    why = replace(start, **values).ignored.get(name)
    options = {"key": name, "bind": "query-params", "help": _help(name, start, why), "disabled": why is not None}
    if name in CHOICES:
        values[name] = place.selectbox(title, CHOICES[name], CHOICES[name].index(default), **options)
    elif isinstance(default, bool):
        values[name] = place.checkbox(title, default, **options)
    elif isinstance(default, int):
        low, high = RANGES[name]
        values[name] = int(place.number_input(title, low, high, default, _STEPS.get(name, 1), **options))
    else:
        low, high = map(float, RANGES[name])
        values[name] = round(place.number_input(title, low, high, default, _STEPS[name], "%g", **options), 9)
    if not why and name not in presets.FREE:
        _mark(place, start, values[name], default)


def _mark(place, start: RunConfig, value: object, default: object) -> None:
    if start.preset and value != default:
        place.markdown(f":orange-badge[changed from {_said(default)}]")


def _help(name: str, start: RunConfig, why: str | None = None) -> str:
    says = f" The preset {start.preset} says {_said(getattr(start, name))}." if start.preset else ""
    return WORDS[name][1] + (f" Not used: {why}." if why else says)


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"{100 * share:.0f} %" for share in value)
    return (
        {True: "on", False: "off"}[value]
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _notes(config: RunConfig, start: RunConfig) -> None:
    """Say what differs from the preset, with a way back, and what is missing for it."""
    if missing := presets.missing_weights(config):
        st.warning(missing, icon=":material/cloud_off:")
        shipped = _widgets(presets.nearest(config))
        change = {key: shipped[key] for key in ("backbone", "weights", "image_size")}
        st.button("Take the shipped network", icon=":material/swap_horiz:", on_click=_setter(change))
    differs = presets.changed(config)
    if not differs:
        return
    st.caption(f"Changed from the preset **{config.preset}**; a click takes a choice back.")
    back = _widgets(start)
    with st.container(horizontal=True, gap="small"):
        for name, value in differs.items():
            keys = _HELD if name == "fractions" else (name,)
            st.button(
                f"{WORDS[name][0]}: {_said(value)}", key=f"back-{name}", icon=":material/undo:",
                on_click=_setter({key: back[key] for key in keys}), help="The preset's value.",
            )  # fmt: skip
        st.button("Reset all", key="back-all", icon=":material/restart_alt:", type="tertiary", on_click=_setter(back))


def _setter(values: dict[str, object]) -> Callable[[], None]:
    return lambda: st.session_state.update(values)
