"""The trust badge beside a map: may it be believed, and by which of four checks not."""

import math
import time
from collections import Counter
from collections.abc import Hashable
from statistics import median

import streamlit as st

from core import images, inference, runs
from core.explanations.badge import VERDICTS, Badge, Check, read_limits
from core.explanations.question import Question
from pages.shared import cached, tasks, widgets
from pages.shared.subject import Subject

#: Verdict → tone, sign, and what is said of the map. The sign says it without the colour.
_SAID = dict(
    zip(
        VERDICTS,
        (
            ("good", "✓", "This map may be believed"),
            ("warn", "!", "Take this map with care"),
            ("bad", "✗", "Do not believe this map"),
        ),
        strict=True,
    )
)
#: Seconds that a badge of a model and method took last.
_took: dict[tuple[str, str], float] = {}


def draw(run: runs.Run, it: Subject, question: Question) -> None:
    """Draw the badge of the map that is shown, or how it is coming along; never waits for it.

    Parameters
    ----------
    run : Run
    it : Subject
    question : Question
        What the map was asked for.
    """
    slot, key = cached.badge_slot(run, it, question)
    if slot:
        show(slot[0])
        return
    task = tasks.get(key) or _start(key, run, it, question, slot)
    if not task.finished:
        _follow(key, (run.id, question.method))
    elif task.result is not None:
        show(task.result)
    else:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(task.error or "The check was cancelled.", width="content")
            if st.button("Check this map", icon=":material/verified:", type="tertiary", key="badge-again"):
                _start(key, run, it, question, slot)
                st.rerun()


def _start(key: tuple[Hashable, ...], run: runs.Run, it: Subject, question: Question, slot: list) -> tasks.Task:
    size, folder = run.card()["input_shape"][0], run.bundle

    def work(report) -> Badge:
        began = time.monotonic()
        image, _ = images.to_model_input(it.pixels, it.spacing_mm, size)
        (badge,) = inference.get_explainer().badge(folder, image[None], question)
        _took[run.id, question.method] = time.monotonic() - began
        slot.append(badge)
        return badge

    return tasks.start(key, work)


@st.fragment(run_every=0.4)
def _follow(key: tuple[Hashable, ...], measured: tuple[str, str]) -> None:
    """Say that a badge is being made; draw the page anew when it is there."""
    task = tasks.get(key)
    if task is None or task.finished:
        st.rerun()
    about = f", about {max(1, round(_took[measured]))} s" if measured in _took else ""
    st.html(
        f'<div class="badge"><span class="chip plain">… Checking whether this map may be believed{about}</span>'
        '<p class="small">Against twins that have learnt nothing, by hiding and showing, by the head, by faint '
        "noise.</p></div>"
    )


def show(badge: Badge) -> None:
    """Draw verdict, reason and the four checks, and what they mean."""
    tone, sign, said = _SAID[badge.verdict]
    chips = "".join(
        widgets.chip(
            f"{'✓' if check.passed else '✗'} {check.wording.title}",
            "good" if check.passed else "bad",
            f"{check.number}: {check.wording.measure}. {check.sentence}",
        )
        for check in badge.checks
    )
    st.html(
        f'<div class="badge {tone}"><b>{sign} {said}</b><p>{widgets.escape(badge.reason)}</p><div>{chips}</div></div>'
    )
    with st.expander("What does this mean?", icon=":material/help:"):
        meaning(badge)


def tally(title: str, badges: list[Badge]) -> None:
    """Draw what the badges of several maps say together: their verdicts, and how many pass each check.

    Parameters
    ----------
    title : str
        Whose maps they are.
    badges : list of Badge
        At least one.
    """
    verdicts = Counter(badge.verdict for badge in badges)
    (commonest, _), *_ = verdicts.most_common()
    said = ", ".join(f"{verdict} {verdicts[verdict]}" for verdict in VERDICTS if verdicts[verdict])
    chips = "".join(_passed_by([badge.checks[at] for badge in badges]) for at in range(len(badges[0].checks)))
    st.html(
        f'<div class="badge {_SAID[commonest][0]}"><b>{widgets.escape(title)}</b>'
        f"<p>Verdicts on {len(badges)} maps: {said}.</p><div>{chips}</div></div>"
    )


def _passed_by(checks: list[Check]) -> str:
    passed, wording = sum(check.passed for check in checks), checks[0].wording
    values = [check.value for check in checks if not math.isnan(check.value)]
    middle = Check(checks[0].name, median(values) if values else math.nan, checks[0].limit)
    most = 2 * passed > len(checks)
    return widgets.chip(
        f"{'✓' if most else '✗'} {wording.title}: {passed} of {len(checks)} pass", "good" if most else "bad",
        f"Median {middle.number}: {wording.measure}. {wording.passed if most else wording.failed}",
    )  # fmt: skip


def meaning(badge: Badge) -> None:
    """Explain the four checks with their numbers, and where the limits come from."""
    for check in badge.checks:
        mark = ":green[✓]" if check.passed else ":red[✗]"
        st.markdown(
            f"{mark} **{check.wording.title}** · {check.number}  \n{check.sentence} *The number is the "
            f"{check.wording.measure}.*"
        )
    limits = read_limits()
    st.caption(
        "A map that fails either of the first two, or any two, is not to be believed; one that fails one of the others "
        f"is to be taken with care. The limits were chosen on one phantom cohort and judged on another "
        f"(`{limits['by']}`, {limits['date']}). A badge says whether a map shows what the model used, not whether the "
        "model is right."
    )
    table = cached.badge_table()
    if table:
        with st.popover("Which methods pass for which model?", icon=":material/table:"):
            st.markdown(table)
            st.caption("From `docs/explanations.md`, which also says how each number is measured.")
