"""Facets to tick, each word with the number of slices that it would give."""

from collections.abc import Callable, Mapping, Sequence

import streamlit as st

from pages.shared.components import register

_component = register("facet_panel", '<div class="facets" role="group" aria-label="Filters"></div>')

#: Words of a facet that are sent at most, those with most slices; a cohort of thousands of patients has a search.
MOST_WORDS = 1000


def facet_panel(
    labels: Mapping[str, str],
    counts: Mapping[str, Mapping[str, int]],
    chosen: Mapping[str, Sequence[str]],
    *,
    on_change: Callable[[dict[str, list[str]]], None],
    key: str,
) -> None:
    """Draw facets; ticking a word calls ``on_change`` with the ticked words of all facets that have some.

    Parameters
    ----------
    labels : mapping of str
        Facet to what it is called, in the order of the panel; a facet of a single word is left out unless it is ticked.
    counts : mapping of mapping of int
        Facet to word to slices, as `core.cohorts.facets.select` gives them.
    chosen : mapping of sequence of str
        Facet to the words that are ticked.
    on_change : callable
    key : str
        Streamlit key.
    """

    def changed() -> None:
        sent = st.session_state[key].get("chosen")
        if sent is not None:
            on_change({name: [str(word) for word in sent.get(name, [])] for name in labels})

    facets = [
        {"name": name, "label": label, "options": _most(counts[name]), "chosen": list(chosen.get(name, []))}
        for name, label in labels.items()
        if len(counts[name]) > 1 or chosen.get(name)
    ]
    _component(key=key, data={"facets": facets}, on_chosen_change=changed)


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """List words and counts in their order, without the rarest where there are too many.

    Examples
    --------
    >>> _most({"axial": 3, "coronal": 0})
    [('axial', 3), ('coronal', 0)]
    """
    if len(counts) <= MOST_WORDS:
        return list(counts.items())
    least = sorted(counts.values(), reverse=True)[MOST_WORDS]
    return [(word, count) for word, count in counts.items() if count > least][:MOST_WORDS]
