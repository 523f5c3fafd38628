"""What a map is asked for: head, class, against, layer, method, passes; all in the address."""

from dataclasses import dataclass, replace

import streamlit as st

from core import runs
from core.explanations.desk import Ask, Layers, Named
from core.explanations.map_desk import maps_desk
from core.explanations.question import LAYERED, METHOD_SAYS, METHOD_WORDS, SLOW, WITH_PASSES, Question
from pages.shared import state

PREDICTED, TRUE = "predicted", "true"
NONE = "none"
PASSES = {0: "one, no dropout", 8: "8 with dropout", 16: "16 with dropout", 32: "32 with dropout"}
SHOWS = ("One map", "Methods", "Classes", "Neighbours")
SHOW_SAYS = {
    "One map": "Image, overlay and map of the slice.",
    "Methods": "The same slice and class by every method; those that agree are the more to be believed.",
    "Classes": "The same slice and method for each class: a map that looks the same for all says little about any.",
    "Neighbours": "The maps of the slices before and after: evidence that jumps about from slice to slice is chance.",
}


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Attributes
    ----------
    question : Question
        Its target is None both for the model's answer and for the true class.
    of_truth : bool
        Whether each slice's true class is asked for.
    show : str
        One of `SHOWS`.
    """

    question: Question
    of_truth: bool
    show: str

    def of(self, truth: str | None) -> Question | None:
        """Return what is asked about a slice; None where its true class is asked for and not known."""
        if not self.of_truth:
            return self.question
        return replace(self.question, target=truth) if truth else None


def layers_ask(run: runs.Run, head: str, stamp: str) -> Ask:
    """Return what the desk is asked about a model's layers."""
    return Ask(run.bundle, stamp, Layers(head))


def layers_of(run: runs.Run, head: str, stamp: str) -> tuple[str, ...] | None:
    """Return the layers that maps can be made at; None until the model was asked."""
    found = maps_desk().found(layers_ask(run, head, stamp))
    return found.layers if isinstance(found, Named) else None


def draw(run: runs.Run, stamp: str) -> Choice:
    """Draw the choices."""
    card = run.card()
    with st.container(horizontal=True, vertical_alignment="center"):
        show = st.segmented_control(
            "Show", SHOWS, default=SHOWS[0], key=state.X_SHOW, bind="query-params", required=True, width="content",
            label_visibility="collapsed",
        )  # fmt: skip
        st.caption(SHOW_SAYS[show])
    # Layers have the longest names.
    columns = iter(st.columns([1, 1, 1, 1.3, 1, 1.1][: 6 if card["kind"] == "bayesian" else 5]))
    # The sequence first: it is what people ask about.
    head = next(columns).selectbox("Head", list(card["classes"])[::-1], key=state.X_HEAD, bind="query-params")
    classes = card["classes"][head]
    target = next(columns).selectbox(
        "Class", [PREDICTED, TRUE, *classes], key=state.X_CLASS, bind="query-params", disabled=show == "Classes",
        help="Whose evidence is shown: that of the model's answer, of the slice's label, or of any other class.",
    )  # fmt: skip
    against = next(columns).selectbox(
        "Rather than", [NONE, *classes], key=state.X_AGAINST, bind="query-params",
        help="Why the class rather than this one: the evidence that tells the two apart.",
    )  # fmt: skip
    layer = _layer(run, head, stamp, next(columns))
    method = state.pick(next(columns).selectbox, "Method", METHOD_WORDS, state.X_METHOD, disabled=show == "Methods")
    passes = 0
    if card["kind"] == "bayesian":
        passes = state.pick(
            next(columns).selectbox, "Passes", PASSES, state.X_PASSES, disabled=method not in WITH_PASSES,
            help="Maps with Monte-Carlo dropout on: their mean, and how far they spread.",
        )  # fmt: skip
    question = Question(
        head,
        None if target in (PREDICTED, TRUE) else target,
        layer,
        method,
        None if against == NONE else against,
        passes,
    )
    return Choice(usual(question, card.get("cam_layer")), target == TRUE, show)


def _layer(run: runs.Run, head: str, stamp: str, column) -> str | None:
    usually, layers = run.card().get("cam_layer"), layers_of(run, head, stamp)
    # Until the model was asked, a link's layer counts as one that there is.
    linked = state.get(state.X_LAYER) or st.session_state.get(state.X_LAYER)
    options = list(dict.fromkeys(one for one in (*(layers or (linked,)), usually) if one))
    return column.selectbox(
        "Layer", options, index=options.index(usually) if usually else None, key=state.X_LAYER, bind="query-params",
        placeholder="none", help="Deeper layers know more and see coarser. Methods that work on pixels need none.",
    )  # fmt: skip


def usual(question: Question, cam_layer: str | None) -> Question:
    """Give what is the same map under another name its usual one, so that it is not made twice.

    Examples
    --------
    >>> usual(Question("plane", "axial", "last", against="axial", passes=8), "last")
    Question(head='plane', target='axial', layer=None, method='grad_cam', against=None, passes=8, random_state=0)
    >>> usual(Question("plane", layer="first", method="saliency", passes=8), "last").layer
    """
    return replace(
        question,
        layer=question.layer if question.method in LAYERED and question.layer != cam_layer else None,
        against=None if question.against == question.target else question.against,
        passes=question.passes if question.method in WITH_PASSES else 0,
    )


def says(question: Question) -> str:
    """Say what a method does, and what it is of."""
    what = METHOD_SAYS[question.method]
    if question.against:
        what += f" Asked why rather than **{question.against}**: the score is the difference of the two."
    if question.passes:
        what += f" The mean of {question.passes} passes with dropout; the fourth picture is how far they spread."
    return f"**{METHOD_WORDS[question.method]}**: {what}"


def is_slow(question: Question) -> bool:
    """Tell whether a whole series of such maps is made only when a person asks for it."""
    return question.method in SLOW or question.passes > 0
