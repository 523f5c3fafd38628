"""The trust badge beside a map: may it be believed, and by which of four checks not."""

import math
from collections import Counter
from statistics import median

import streamlit as st

from core.cohorts.pace import spelled
from core.explanations.badge import CHECKS, VERDICTS, Badge, Check, read_limits
from core.explanations.desk import Ask, Failed, Judged
from core.explanations.map_desk import badges_desk
from pages.shared import cached, widgets

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


def draw(client: str, ask: Ask) -> None:
    """Draw the badge of the map that is shown, or how it is coming along; never waits for it.

    Parameters
    ----------
    client : str
        Who looks: of one client only the last slice is checked, not all that were passed on the way to it.
    ask : Ask
        What the map was asked for.
    """
    badges_desk().want(client, [ask])
    found = badges_desk().found(ask)
    if isinstance(found, Judged):
        show(found.badge)
    elif isinstance(found, Failed):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"Not checked: {found.why}", width="content")
            if st.button("Check this map", icon=":material/verified:", type="tertiary", key="badge-again"):
                badges_desk().forget([ask])
                st.rerun()
    else:
        _follow(client, ask)


@st.fragment(run_every=0.5)
def _follow(client: str, ask: Ask) -> None:
    """Say that a badge is being made; draw the page anew when it is there."""
    badges_desk().want(client, [ask])
    if badges_desk().found(ask) is not None:
        st.rerun()
    seconds = badges_desk().waiting(client).seconds
    waiting(f"Checking whether this map may be believed{f', about {spelled(seconds)}' if seconds else ''}")


def waiting(said: str) -> None:
    """Draw the place of a badge that is not there yet, as large as one that is."""
    checks = "".join(widgets.chip(wording.title, "plain") for wording in CHECKS.values())
    _box("", f"… {said}", "Against twins that have learnt nothing, by hiding what is warm, by where the head lies, and "
         "by faint noise.", checks)  # fmt: skip


def _box(tone: str, verdict: str, reason: str, checks: str) -> None:
    st.html(
        f'<div class="badge {tone}" role="status"><b>{verdict}</b><p>{widgets.escape(reason)}</p>'
        f"<div>{checks}</div></div>"
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
    _box(tone, f"{sign} {said}", badge.reason, chips)
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
