"""The form of a new run: what to learn, from what, and how."""

import streamlit as st

from core.config import BACKBONES, KINDS, LABELS, RunConfig
from core.images import MODEL_SIZE

MEANINGS = {
    "transfer": "Transfer learning: one answer from a backbone that has learnt elsewhere.",
    "dual": "Dual output: one model that answers plane and sequence at once.",
    "bayesian": "Bayesian: many Monte-Carlo dropout passes tell how sure it is.",
    "siamese": "Siamese: learns which slices are alike, and lets a jury of reference slices vote.",
}


def draw(name: str) -> RunConfig:
    """Draw the form for a cohort and return the configuration it describes."""
    kind = st.segmented_control("Kind", KINDS, default="transfer", key="kind", bind="query-params", required=True)
    st.caption(MEANINGS[kind])
    label = "sequence"
    if kind != "dual":
        label = st.segmented_control(
            "Label", LABELS, default="sequence", key="label", bind="query-params",
            required=True, help="plane-sequence makes one class of each pair, for example axial-T2.",
        )  # fmt: skip
    one, two = st.columns(2)
    backbone = one.selectbox(
        "Backbone",
        BACKBONES,
        help="slicescope is small and quick; the others are Keras' own and want more time and memory.",
    )
    starts = ["slicescope", "none"] if backbone == "slicescope" else ["imagenet", "none"]
    weights = two.selectbox(
        "Start from",
        starts,
        help="slicescope: shipped weights. imagenet: fetched once from the network. none: random numbers.",
    )
    one, two = st.columns(2)
    epochs = one.number_input("Epochs", 1, 500, 20, help="Passes over the training slices with the backbone frozen.")
    fine = two.number_input(
        "Fine-tuning epochs", 0, 200, 0, help="A second stage that also trains the backbone: slower, sometimes better."
    )
    with st.expander("More choices", icon=":material/tune:"):
        one, two = st.columns(2)
        image_size = one.select_slider(
            "Image size",
            [64, 96, 128, 160, 192, 224],
            MODEL_SIZE,
            help="Pixels along a side; ResNet50 was made for 224.",
        )
        batch = two.select_slider("Batch size", [8, 16, 32, 64, 128], 64)
        rate = one.select_slider("Learning rate", [1e-4, 3e-4, 1e-3, 3e-3, 1e-2], 1e-3, format_func=lambda v: f"{v:g}")
        dropout = two.slider("Dropout", 0.0, 0.8, 0.3, 0.05, help="Share of units switched off at each step.")
        views = one.number_input(
            "Augmented views", 0, 8, 2, help="Shifted, turned, brighter copies of each training slice."
        )
        seed = two.number_input("Seed", 0, 2**31 - 1, 0, help="The same seed gives the same split and the same run.")
        mc_samples = one.number_input(
            "MC passes", 2, 500, 50, disabled=kind != "bayesian", help="Dropout passes per slice of a Bayesian run."
        )
        jury_size = two.number_input(
            "Jury size", 1, 50, 5, disabled=kind != "siamese", help="Reference slices per class of a Siamese run."
        )
    title = st.text_input("Name", value=f"{kind} {'' if kind == 'dual' else label}".strip(), max_chars=60)
    return RunConfig(
        name=title, kind=kind, label=label, cohort=name, backbone=backbone, weights=weights, image_size=int(image_size),
        epochs=int(epochs), fine_tune_epochs=int(fine), batch_size=int(batch), learning_rate=float(rate),
        dropout=float(dropout), augment_views=int(views), mc_samples=int(mc_samples), jury_size=int(jury_size),
        random_state=int(seed),
    )  # fmt: skip
