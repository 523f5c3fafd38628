"""The jury: reference slices that a slice is compared with, their vote, and whether they would rather not say."""

import streamlit as st

from core import images, runs
from core.errors import CoreError
from core.explanations import juries
from core.explanations.votes import VOTES, Verdict
from pages.shared import cached, explain_jury_make, explain_pair, explain_slice, state, widgets
from pages.shared.components.thumbnail_grid import Tile, sheet, thumbnail_grid
from pages.shared.subject import Subject, from_cohort

_AS_MADE = "as-made"


def draw(run: runs.Run) -> None:
    """Draw the vote on the slice of the address, or the making of a jury."""
    st.caption(
        "A jury names a slice by comparing it with reference slices: those most alike decide, and you see who they are."
    )
    names = [*([state.OWN_JURY] if run.config.kind == "siamese" else []), *juries.names(run.id)]
    left, middle, right = st.columns([1.1, 3.2, 0.8], vertical_alignment="bottom")
    making = right.toggle(
        "Make a jury", key=state.JURY_NEW, bind="query-params",
        help="Classes of a few example slices each, known ones or new ones, without any training.",
    )  # fmt: skip
    if making:
        left.markdown("#### A new jury")
        explain_jury_make.draw(run)
        return
    if not names:
        widgets.empty(
            "No jury yet",
            "Slices can be named by comparing them with examples: five of each class will do, of a class that the "
            "model never learnt too. Nothing is trained.", ":material/gavel:",
        )  # fmt: skip
        st.button("Make the first jury", type="primary", icon=":material/gavel:", on_click=state.choose,
                  kwargs={state.JURY_NEW: True})  # fmt: skip
        return
    called = {name: "The run's own" if name == state.OWN_JURY else name for name in names}
    # The first of the list is named, too: a jury that is made later may come before it.
    name = state.pick(left.selectbox, "Jury", called, state.JURY, always=True)
    try:
        made = _chosen(run, "" if name == state.OWN_JURY else name, middle)
    except CoreError as error:
        # A jury of another model is refused, and can still be deleted.
        st.error(str(error))
        _delete(run, name, names)
        return
    it = explain_slice.subject()
    if it is None:
        _about(made)
        explain_slice.choose_subject(run)
    else:
        _voted(run, it, made)
        _trial(made, run)
    if name != state.OWN_JURY:
        _delete(run, name, names)


def _chosen(run: runs.Run, name: str, place) -> juries.NamedJury:
    """Draw the choice of rule, and return the jury that votes by it."""
    words = {_AS_MADE: "As made", **{rule: rule.capitalize() for rule in VOTES}}
    rule = state.pick(
        place.segmented_control, "Vote", words, state.JURY_VOTE, required=True, width="content",
        help=". ".join(f"{rule.capitalize()}: {said.lower()}" for rule, said in VOTES.items()),
    )  # fmt: skip
    if rule == _AS_MADE:
        return cached.jury(run, name)
    k = 5
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if rule == "majority":
            k = st.number_input(
                "Majority of the nearest", 1, 51, 5, 2, key=state.JURY_K, bind="query-params", width=190
            )
        target = st.slider(
            "Accuracy asked of answers, %", 80, 100, 95, key=state.JURY_TARGET, bind="query-params", width=230,
            help="The jury abstains below the margin that reached this in its trial.",
        )  # fmt: skip
    return cached.ruled_jury(run, name, rule, int(k), target / 100)


def _about(made: juries.NamedJury) -> None:
    facts = made.facts
    st.caption(
        f"{facts['references']} references of {facts['patients']} patients, {made.chosen}: {facts['classes']}. "
        "Choose a slice that it shall vote on."
    )


def _voted(run: runs.Run, it: Subject, made: juries.NamedJury) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{it.title}**", width="content")
        st.button("Another slice", icon=":material/arrow_back:", type="tertiary", on_click=_forget)
    with st.spinner("Asking the model"):
        verdict, figure = cached.verdict(run, made, it)
    picture, answer, chart = st.columns([1, 1.2, 2.2], gap="medium")
    picture.image(images.to_display(it.pixels), width="stretch")
    with answer:
        _answer(verdict, made, it)
    with chart:
        widgets.chart(figure, "similarities", f"{run.id}-similarities")
    key = state.get(state.PARTNER)
    if key in verdict.keys:
        _beside(run, it, made, verdict, key)
    _references(run, verdict)


def _forget() -> None:
    explain_slice.forget()
    state.put(**{state.PARTNER: None})


def _answer(verdict: Verdict, made: juries.NamedJury, it: Subject) -> None:
    abstains = verdict.margin < made.threshold
    said = widgets.chip("abstains", "warn", "Its margin is below the threshold.") if abstains else ""
    names = list(verdict.votes)
    st.html(
        f"The jury says {widgets.chip(verdict.winner, 'plain' if abstains else 'info')} {said}"
        + widgets.bars(list(verdict.votes.values()), names)
    )
    header = {widgets.show(word) for word in it.labels.values()} - {"–"}
    threshold = f"It abstains below {made.threshold:.3f}." if made.threshold > 0 else "It never abstains."
    st.markdown(
        f"{VOTES[made.vote]}{f' ({made.k})' if made.vote == 'majority' else ''}. Margin to the next class "
        f"**{verdict.margin:.3f}**. {threshold}" + (f" The header says {' · '.join(sorted(header))}." if header else "")
    )


def _references(run: runs.Run, verdict: Verdict) -> None:
    n = int(verdict.counted.sum())
    everyone = n == len(verdict.counted)
    st.markdown("##### Those who voted" if everyone else f"##### The {n} who voted, and the others")
    tiles = [
        Tile(key=key, title=label, note=patient, badge=f"#{place + 1}" if counted else "no say",
             tone="" if not counted else "good" if label == verdict.winner else "warn", corner=f"{alike:.2f}",
             hover=f"{label}, patient {patient}, cosine {alike:.3f}" + ("" if counted else "; had no say"))
        for place, (key, label, alike, patient, counted) in enumerate(zip(
            verdict.keys, verdict.labels, verdict.similarities, verdict.patients, verdict.counted, strict=True))
    ]  # fmt: skip
    thumbnail_grid(
        tiles, sheet(verdict.pictures), selected=state.get(state.PARTNER) or None, key="jury-references", tile_px=104,
        on_click=lambda key: state.put(**{state.PARTNER: key}),
    )  # fmt: skip
    st.caption(
        "References with their cosine similarity, most alike first (1 is the same direction); green those of the "
        "winner's class. Choose one to see what makes it and the slice alike."
    )


def _beside(run: runs.Run, it: Subject, made: juries.NamedJury, verdict: Verdict, key: str) -> None:
    with st.container(border=True):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown("##### The slice and a reference", width="content")
            st.button("Close", icon=":material/close:", type="tertiary", on_click=state.put,
                      kwargs={state.PARTNER: None})  # fmt: skip
        try:
            reference = from_cohort(made.cohort, key)
        except CoreError:
            st.info(
                f"The reference's file is in cohort {made.cohort!r}, which is not here, so there is no map of it.",
                icon=":material/hide_image:",
            )
            return
        titles = ("The slice", verdict.labels[verdict.keys.index(key)])
        explain_pair.draw(run, it, reference, titles, "jury-pair")


def _trial(made: juries.NamedJury, run: runs.Run) -> None:
    """Say how the jury did, and at which margin it abstains."""
    facts = made.facts
    with st.expander("How far can it be trusted?", icon=":material/fact_check:"):
        if facts["accuracy"] is None:
            st.markdown("It was not tried: there were no slices of other patients with these classes.")
            return
        st.markdown(f"Tried on {facts['tried on']}: **{100 * facts['accuracy']:.1f} %** right. {_kept_words(made)}")
        widgets.chart(cached.jury_trial_figure(run, made), "jury-kept", f"{run.id}-jury-kept")


def _kept_words(made: juries.NamedJury) -> str:
    facts = made.facts
    if made.threshold > 0:
        return (
            f"It answers {100 * facts['kept']:.0f} % of them and is right on {100 * facts['accuracy of those']:.1f} % "
            "of those; the margin was chosen on these very slices, so elsewhere it will be a little worse."
        )
    if made.name and not made.reached:
        return f"No margin reaches the {100 * made.target:.0f} % that were asked, so it never abstains."
    return "It answers all of them."


def _delete(run: runs.Run, name: str, names: list[str]) -> None:
    others = [one for one in names if one != name]
    with st.popover("Delete this jury", icon=":material/delete:"):
        st.markdown(f"Jury **{name}** is deleted for good; slices and run stay as they are.")
        st.button("Delete", type="primary", on_click=_gone, args=(run.id, name, others), key="jury-delete")


def _gone(model: str, name: str, others: list[str]) -> None:
    juries.remove(name, model)
    state.put(**{state.JURY: others[0] if others else None})
