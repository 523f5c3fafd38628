"""What every page draws the same way: its head, empty states, chips, bars, lists of rejected files."""

from html import escape

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from core.vocabulary import NOT_FOR_CLINICAL_USE
from pages.shared import state
from pages.shared.components.chart_save import chart_save

#: Verdict → tone and what it means, for hovering.
VERDICTS = {
    "agree": ("good", "Header and image say the same."),
    "disagree": ("bad", "Header and image say different things: have a look."),
    "header_only": ("plain", "Only the header gives an answer; the image model was not taught this."),
    "image_only": ("info", "The header does not tell; this is the image model's answer."),
    "unsure": ("warn", "The image model is below its calibrated threshold."),
    "not_a_brain": ("odd", "The picture does not look like a slice of a head."),
}


def header(title: str, sentence: str) -> None:
    """Draw the head of a page: title, one sentence, and what it must not be used for."""
    state.by_front_door()
    st.html(
        f'<div class="page-head"><div><h1>{escape(title)}</h1><p>{escape(sentence)}</p></div>'
        f'<span class="clinical" title="{escape(NOT_FOR_CLINICAL_USE)}">Not for clinical use</span></div>'
    )


def empty(title: str, sentence: str, icon: str = ":material/inbox:") -> None:
    """Say what is missing and what to do about it."""
    with st.container(border=True, horizontal_alignment="center"):
        st.space("small")
        st.markdown(f"### {icon} {title}", text_alignment="center", width="content")
        st.markdown(sentence, text_alignment="center", width="content")
        st.space("small")


def chip(text: str, tone: str = "plain", hover: str = "") -> str:
    """Return HTML of a small label; tones are good, bad, warn, info, odd and plain.

    Examples
    --------
    >>> chip("T1 <b>", "good")
    '<span class="chip good" title="">T1 &lt;b&gt;</span>'
    """
    return f'<span class="chip {tone}" title="{escape(hover)}">{escape(text)}</span>'


def verdict_chip(verdict: str) -> str:
    """Return HTML of a verdict's chip, with its meaning on hover."""
    tone, meaning = VERDICTS[verdict]
    return chip(verdict.replace("_", " "), tone, meaning)


def model_line(facts: dict[str, object]) -> str:
    """Return HTML that says which model answered: its name, since when it is the model, its hash in short.

    Parameters
    ----------
    facts : dict
        As `core.publishing.registry.Model.facts`; an older study's may hold less.

    Examples
    --------
    >>> model_line({"model_name": "T1 or T2", "sha256": "0123456789abcdef", "promoted": "2026-01-02T10:00:00+00:00"})
    '<span class="small">Labelled by <b>T1 or T2</b> · promoted 2026-01-02 10:00 UTC · 0123456789</span>'
    """
    name = facts.get("model_name") or facts.get("model") or "a model"
    parts = [f"Labelled by <b>{escape(str(name))}</b>"]
    if facts.get("promoted"):
        parts.append(f"promoted {escape(str(facts['promoted'])[:16].replace('T', ' '))} UTC")
    if facts.get("sha256"):
        parts.append(escape(str(facts["sha256"])[:10]))
    return f'<span class="small">{" · ".join(parts)}</span>'


def bar(label: str, value: float, hover: str = "") -> str:
    """Return HTML of one probability as a bar."""
    percent = 100 * min(1.0, max(0.0, float(value)))
    return (
        f'<span class="bar" title="{escape(hover)}"><span class="bar-name">{escape(label)}</span>'
        f'<span class="bar-track"><i style="width:{percent:.1f}%"></i></span>'
        f'<span class="bar-value">{percent:.0f} %</span></span>'
    )


def bars(proba, classes, least: float = 0.005) -> str:
    """Return HTML of the likeliest classes, at most six, at least two."""
    order = sorted(range(len(classes)), key=lambda at: -proba[at])[:6]
    return "".join(bar(classes[at], proba[at]) for place, at in enumerate(order) if place < 2 or proba[at] >= least)


def facts(pairs: dict[str, object]) -> str:
    """Return HTML of names and values; values that say nothing are left out."""
    rows = (
        f"<dt>{escape(name)}</dt><dd>{escape(show(value))}</dd>" for name, value in pairs.items() if show(value) != "–"
    )
    return f'<dl class="facts">{"".join(rows)}</dl>'


def show(value: object) -> str:
    """Turn a table's value into words.

    Examples
    --------
    >>> show(4200.0), show(0.123456), show(None), show(float("nan")), show("")
    ('4200', '0.1235', '–', '–', '–')
    """
    if value is None or value is pd.NA or value == "" or (isinstance(value, float) and value != value):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def rule(name: str) -> str:
    """Turn a rule's name into words.

    Examples
    --------
    >>> rule("spin_echo_t1+text_t1"), rule("")
    ('spin echo t1 + text t1', 'no rule applies')
    """
    return name.replace("_", " ").replace("+", " + ") or "no rule applies"


def rejected_table(rejected: pd.DataFrame) -> None:
    """List files that could not be read, with their reasons."""
    if rejected.empty:
        return
    path = "shown_path" if "shown_path" in rejected else "path"
    with st.expander(
        f"{len(rejected)} {'file' if len(rejected) == 1 else 'files'} could not be read", icon=":material/report:"
    ):
        st.dataframe(
            rejected[[path, "reason"]],
            hide_index=True,
            column_config={path: "File", "reason": st.column_config.TextColumn("Reason", width="large")},
        )


def progress(done: int, total: int, text: str, **button: object) -> bool:
    """Draw how far some work is, beside a button that ends it.

    Parameters
    ----------
    done, total : int
        Of anything; nothing is done of what nobody could count yet.
    text : str
        Stands over the bar.
    **button
        As ``button`` takes it.

    Returns
    -------
    bool
        Whether the button was just pressed.
    """
    bar, stop = st.columns([5, 1], vertical_alignment="center")
    bar.progress(min(1.0, done / total) if total else 0.0, text=text)
    return stop.button("Cancel", icon=":material/close:", **button)


def halves(share: float, key: str) -> list:
    """Return two columns, the first `share` times as wide; on narrow screens they stand under each other.

    ``key`` is the Streamlit key of what holds them; the style sheet knows it by its first word.
    """
    return st.container(key=f"halves-{key}").columns([share, 1], gap="large")


def metrics(values: dict[str, object]) -> None:
    """Draw a row of numbers; where a screen is too narrow for all, some go to a second row."""
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        for name, value in values.items():
            st.metric(name, value, width="content")


def pager(n_items: int, per_page: int, page: int, on_turn, key: str) -> slice:
    """Draw the page turner of a grid and return which items are on the page.

    Parameters
    ----------
    n_items, per_page : int
    page : int
        From 1, as the address has it; out of range counts as the nearest.
    on_turn : callable
        Called with the new page.
    key : str
        Streamlit key of its buttons.
    """
    pages = max(1, -(-n_items // per_page))
    page = min(max(page, 1), pages)
    if pages > 1:
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="right"):
            st.caption(f"{(page - 1) * per_page + 1}–{min(n_items, page * per_page)} of {n_items:,}", width="content")
            st.button(
                ":material/chevron_left:", key=f"{key}-back", disabled=page == 1, on_click=on_turn, args=(page - 1,)
            )
            st.button(
                ":material/chevron_right:", key=f"{key}-on", disabled=page == pages, on_click=on_turn, args=(page + 1,)
            )
    return slice((page - 1) * per_page, page * per_page)


def chart(figure: go.Figure, key: str, name: str, **options: object) -> object:
    """Draw a figure, with a small menu that saves it as PNG, SVG or interactive HTML.

    Parameters
    ----------
    figure : Figure
    key : str
        Streamlit key of the chart.
    name : str
        What the files are called, without ending: words of the run and the figure, no patient's.
    **options
        For `streamlit.plotly_chart`, for example ``on_select``.

    Returns
    -------
    object
        What `streamlit.plotly_chart` returns.
    """
    # The figures' own colours stand on light and dark, so that what is saved does, too.
    config = {"displaylogo": False, "toImageButtonOptions": {"format": "png", "scale": 3, "filename": name}}
    with st.container(key=f"chart-{key}", gap=None):
        drawn = st.plotly_chart(figure, width="stretch", theme=None, key=key, config=config, **options)
        with (
            st.container(horizontal=True, horizontal_alignment="right"),
            st.popover("Save", icon=":material/download:", type="tertiary"),
        ):
            chart_save(f"chart-{key}", name, key=f"{key}-save")
            st.download_button(
                "Interactive HTML", lambda: figure_html(figure), f"{name}.html", "text/html", key=f"{key}-html",
                on_click="ignore", width="stretch", help="Opens in any browser, without a network.",
            )  # fmt: skip
    return drawn


def figure_html(figure: go.Figure) -> str:
    """Write a figure as a page of its own that asks no network for anything."""
    return figure.to_html(include_plotlyjs=True, config={"displaylogo": False, "responsive": True})


def table(rows: pd.DataFrame, key: str, name: str, **options: object) -> object:
    """Draw a table, with a button below that saves it as CSV.

    Parameters
    ----------
    rows : DataFrame
    key, name : str
        As for `chart`.
    **options
        For `streamlit.dataframe`; ``hide_index=True`` leaves the index out of the file as well.
    """
    drawn = st.dataframe(rows, key=key, **options)
    with st.container(horizontal=True, horizontal_alignment="right"):
        st.download_button(
            "CSV", lambda: rows.to_csv(index=not options.get("hide_index", False)), f"{name}.csv", "text/csv",
            key=f"{key}-csv", on_click="ignore", type="tertiary", icon=":material/download:",
        )  # fmt: skip
    return drawn
