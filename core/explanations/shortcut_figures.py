"""The shortcut demonstration as figures and in words."""

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from core.explanations.badge import CHECKS, Badge
from core.explanations.cohort_maps import overlay
from core.explanations.heat_figures import peaked, put_picture, tiles
from core.explanations.shortcut import CORNER, Result
from core.explanations.shortcut_cohorts import LETTERS, VERSIONS
from core.figures import GREY, RED, TEAL, TEMPLATE

#: What the trainings and versions are called in figures.
MODELS = {"shortcut": "Learnt with letters", "honest": "Learnt without letters"}
SLICES = {"letters": "Slices with letters", "without": "The same without", "swapped": "With swapped letters"}
_COLOURS = {"shortcut": RED, "honest": TEAL}


def accuracy_bars(found: Result, _pictures: dict[str, np.ndarray]) -> go.Figure:
    """Draw both models' accuracy on the three versions of the test slices, with the line of mere guessing."""
    figure = go.Figure(layout={"template": TEMPLATE, "height": 360, "barmode": "group", "bargap": 0.3})
    for training, of in found.accuracy.items():
        figure.add_bar(
            x=list(SLICES.values()), y=[of[version] for version in VERSIONS], name=MODELS[training],
            marker_color=_COLOURS[training], texttemplate="<b>%{y:.0%}</b>", textposition="outside",
            textfont={"size": 17}, cliponaxis=False,
            hovertemplate=f"{MODELS[training]}, %{{x}}: %{{y:.1%}} right<extra></extra>",
        )  # fmt: skip
    figure.add_hline(
        y=found.chance, line={"color": GREY, "dash": "dot"}, annotation_text=f"guessing, {found.chance:.0%}",
        annotation_position="right",
    )  # fmt: skip
    figure.update_xaxes(tickfont={"size": 15})
    figure.update_layout(margin={"r": 110})
    return figure.update_yaxes(title_text="Right answers", tickformat=".0%", range=[0, 1.1])


def slices_with_letters(found: Result, pictures: dict[str, np.ndarray]) -> go.Figure:
    """Draw one test slice a class as the shortcut sees it, with its answer."""
    figure = _examples(found, ["What it<br>sees"])
    for column, (example, grey) in enumerate(zip(found.examples, pictures["grey"], strict=True), 1):
        said = f"It says {example['shortcut']['letters']}"
        put_picture(figure, _rgb(grey), said, said, row=1, col=column)
    return figure


def where_they_looked(found: Result, pictures: dict[str, np.ndarray]) -> go.Figure:
    """Draw both models' maps of one test slice a class, and of all test slices together."""
    figure = _examples(found, [name.replace(" ", "<br>") for name in MODELS.values()], "All test slices")
    for row, training in enumerate(MODELS, 1):
        shown = zip(found.examples, pictures["grey"], pictures[training], strict=True)
        for column, (example, grey, heat) in enumerate(shown, 1):
            answer = example[training]["letters"]
            note = f"says {answer}" + ("" if answer == example["y_true"] else ", wrong")
            put_picture(figure, overlay(grey, heat), f"{MODELS[training]}: {note}", note, row=row, col=column)
        mean = np.asarray(pictures[f"mean-{training}"], np.float32)
        note = f"mean of {found.slices} maps"
        said = f"{found.corner[training]:.0%} of the heat in the letter's corner"
        put_picture(
            figure, overlay(pictures["mean-grey"], peaked(mean)), said, note, row=row, col=len(found.examples) + 1
        )
    return figure


def what_letters_do(found: Result) -> str:
    """Say in sentences what becomes of both models without letters and with swapped ones."""
    of, honest = found.accuracy["shortcut"], found.accuracy["honest"]
    return (
        f"Without letters the perfect model is right on **{of['without']:.0%}** of the same slices; always saying the "
        f"commonest class would be right on {found.chance:.0%}. When each class carries the next one's letter it is "
        f"right on **{of['swapped']:.0%}**, and **{found.follows:.0%}** of its answers are what the letter says. It "
        f"has learnt to read, not to tell contrasts apart. The model that learnt without letters stays where it is: "
        f"{honest['letters']:.0%}, {honest['without']:.0%} and {honest['swapped']:.0%}."
    )


def where_heat_lies(found: Result) -> str:
    """Say in sentences how much of the heat lies outside the head and in the letter's corner."""
    return (
        f"Of the perfect model's heat **{found.corner['shortcut']:.0%}** lies in the letter's corner, which is "
        f"{CORNER**2:.0%} of the picture; of the other's {found.corner['honest']:.0%}. Outside the head lie "
        f"**{found.outside['shortcut']:.0%}** of its heat against {found.outside['honest']:.0%}; spread evenly it "
        f"would be {found.air:.0%}. Maps are coarse: heat runs over from the letter, and from the head."
    )


def what_badges_say(badges: Mapping[str, Sequence[Badge]]) -> str:
    """Say in sentences which check tells the two models apart, and which cannot.

    Parameters
    ----------
    badges : mapping
        Training to the badges of its maps, at least one each.
    """

    def passing(training: str, name: str) -> str:
        passed = sum(check.passed for badge in badges[training] for check in badge.checks if check.name == name)
        return f"{passed} of {len(badges[training])}"

    return (
        f"**{CHECKS['head'].title}** asks where the heat is: **{passing('shortcut', 'head')}** maps of the perfect "
        f"model pass it and {passing('honest', 'head')} of the other's. *{CHECKS['decision'].title}* asks only whether "
        f"the answer hangs on it: {passing('shortcut', 'decision')} of the perfect model's maps pass, as hiding the "
        f"letter changes its answer, and {passing('honest', 'decision')} of the other's, which can tell contrasts by "
        "any part of the head. "
        "A badge speaks of the map: one that shows the letter is right, and its model worthless all the same."
    )


def _examples(found: Result, rows: list[str], last: str = "") -> go.Figure:
    names = [f"{example['y_true']} (letter {LETTERS[example['y_true']]})" for example in found.examples]
    return tiles(len(rows), [*names, *([last] if last else [])], rows)


def _rgb(grey: np.ndarray) -> np.ndarray:
    return overlay(np.asarray(grey, np.float32), np.zeros(grey.shape))
