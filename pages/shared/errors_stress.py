"""The stress bench: what to expect of a model where slices are worse."""

from functools import partial

import streamlit as st

from core import runs
from core.analysis import stress
from core.analysis.stress_changes import CHANGES, change_named
from pages.shared import cached, side_job, state, widgets
from pages.shared.errors_choice import Chosen

_MOST_SLICES = 100


def draw(chosen: Chosen) -> None:
    """Draw the bench's curves, what they mean, and one slice at each strength; or how to start it."""
    st.markdown("#### What happens at another hospital?")
    st.caption(
        "Some slices are changed step by step, and the model is asked about each: lines are accuracy, dotted lines the "
        "share of answers it is still sure of. Where a line falls and its dotted line does not, it does not know."
    )
    run = chosen.run
    status = stress.status(run)
    if status["state"] == "running":
        side_job.follow(
            partial(stress.status, run), partial(stress.cancel, run), "Changing slices and asking the model: "
        )
        return
    drawn = cached.analysis(run, "stress_curves.parquet")
    if status["state"] in ("failed", "interrupted"):
        st.warning(status["message"], icon=":material/error:")
    if drawn is None:
        widgets.empty(
            "Not measured yet", "Start the bench: it changes slices of this run's patients and asks the model about "
            "them, in a process of its own.", ":material/network_check:",
        )  # fmt: skip
        _start(run)
        return
    if status.get("sha256") not in (None, run.card()["sha256"]):
        st.warning("The model has been replaced since. Measure it anew.", icon=":material/history:")
    if stress.outdated(drawn):
        st.warning("It was measured with other changes than there are now. Measure it anew.", icon=":material/history:")
    _curves(chosen, drawn)
    _examples(chosen, status.get("random_state", 0))
    with st.expander("Measure anew", icon=":material/replay:"):
        _start(run)


def _curves(chosen: Chosen, drawn) -> None:
    heads = tuple(dict.fromkeys(drawn["head"]))
    one = drawn.iloc[0]
    st.caption(
        f"Judged on {one['slices']:,} slices of {one['patients']:,} patients, as many of each class as there were, so "
        f"the accuracy of unchanged slices ({', '.join(_unchanged(drawn, heads))}) is not that of the whole part."
    )
    widgets.chart(cached.stress_figure(run=chosen.run, heads=heads), "stress-curves", f"{chosen.run.id}-stress")
    with st.container(border=True):
        st.markdown(f"**What a partner should know: {chosen.head}**")
        said, _, _ = cached.stress_head(chosen.run, chosen.head)
        lines = [f"- **{one.title}** ({one.why}): {sentence}" for one, sentence in zip(CHANGES, said, strict=True)]
        st.markdown("\n".join(lines))
    with st.expander("All numbers", icon=":material/table:"):
        widgets.table(drawn.drop(columns="step"), "stress-table", f"{chosen.run.id}-stress", hide_index=True)


def _unchanged(drawn, heads: tuple[str, ...]) -> list[str]:
    rows = drawn[drawn["change"] == ""].set_index("head")["accuracy"]
    return [f"{head} {100 * rows[head]:.1f} %" for head in heads]


def _examples(chosen: Chosen, random_state: int) -> None:
    """Draw one slice at each strength of a change, with the answers it was given."""
    _, titles, answers = cached.stress_head(chosen.run, chosen.head)
    if not titles:
        return
    st.markdown("##### One slice, step by step")
    left, right = st.columns([1, 2])
    names = {change.name: change.title for change in CHANGES}
    change = state.pick(left.selectbox, "Change", names, state.CHANGE, help="What is done to the slice.")
    key = state.pick(right.selectbox, "Slice", titles, state.CHANGED, help="One of those that the bench has changed.")
    made = cached.open_cohort(chosen.rows["cohort"].iloc[0] if len(chosen.rows) else chosen.run.config.cohort)
    if key not in made.table.index:
        st.warning("This slice is no longer in its cohort.", icon=":material/hide_image:")
        return
    addresses = cached.stress_strip(chosen.run, made, key, change, random_state)
    of_slice = answers.loc[[key]]
    of_slice = of_slice[of_slice["change"].isin(("", change))].set_index("strength")
    tiles = []
    for step, address in zip(stress.steps_of(change), addresses, strict=True):
        label = step.words[1]
        if label not in of_slice.index:
            continue
        row = of_slice.loc[label]
        tone = "good" if row["y_pred"] == row["y_true"] else "bad"
        said = widgets.chip(f"{row['y_pred']} {100 * row['p']:.0f} %", tone)
        tiles.append(
            f'<figure><figcaption>{widgets.escape(label)}</figcaption><img src="{address}" '
            f'alt="{widgets.escape(f"{names[change]}, {label}")}">{said}</figure>'
        )
    st.html(f'<div class="steps">{"".join(tiles)}</div>')
    unit = change_named(change).unit
    st.caption(f"Headings: {unit}. Pictures are what the model sees; below each its answer and how probable it is.")


def _start(run: runs.Run) -> None:
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    slices = left.slider(
        "Slices of each class", 5, _MOST_SLICES, stress.SLICES, 5, key="stress_n",
        help=f"Spread over patients. Each is changed in {len(stress.STEPS) - 1} ways.",
    )  # fmt: skip
    seconds = cached.stress_seconds(run, slices)
    side_job.starter(right, "Start the bench", partial(stress.start, run, slices), width="stretch")
    side_job.how_long(seconds, "some seconds")
