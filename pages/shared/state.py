"""Every key of the address and of the session state, so that a link reopens what was seen.

Three kinds of key stand in the address. Widgets with ``bind="query-params"`` keep theirs by themselves, as the words
that they show; where those are not the short names, `pick` keeps the names. What a component was clicked for is
written with `put`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import streamlit as st

COHORT = "cohort"  # sidebar, bound
RUN = "run"  # sidebar, bound
SLICE = "slice"  # key of a slice, as core.cohort.slice_key makes it
BESIDE = "beside"  # SeriesInstanceUID of the series that stands beside the slice's own
STUDY = "study"  # id of a dropped study
ITEM = "item"  # row number in a study's slice table; on Label the key of a slice or series
CELL = "cell"  # "true|predicted" in the confusion matrix
UNIT = "unit"  # what a confusion matrix counts, picked
SHARES = "shares"  # what its cells show, picked
ORDER = "order"  # in which order its classes stand, picked
JOINT = "joint"  # whether both heads' classes are joined, bound
CLASS = "class"  # class whose curves stand out, bound
SPOT = "spot"  # "fact=word" of a weak spot, two of them joined by &
AREA = "area"  # corners of what is chosen on the map, "x y x y …"
PAGE = "page"  # page of a grid, from 1
COLLECTION = "collection"  # id of the Imaging Data Commons' collection that is looked at
FOLLOWED = "followed"  # id of the run that Train shows
RUNS = "runs"  # ids of the runs that are picked or compared, joined by a comma; the first is the one to compare with
LESSON = "lesson"  # id of the lesson that is looked at
COMPARED = "compared"  # ids that Train compares; held by the session, the address has `RUNS`
RUN_WORDS = "words"  # words that runs are searched by, bound
HEAD = "head"  # head of the compared models that is looked at, bound
AGAINST = "against"  # name of the run whose flips are shown, bound
FLIP = "flip"  # which way, bound
EPOCH = "epoch"  # of that run, from 1 over all stages: whose confusion matrix is shown
VIEW = "view"  # which part of a page is open, bound
RUNNER = "runner"  # what a new run runs on, bound
OPEN_VIEW = "open-view"  # part that a page shall open with; held by the session until it does
QUEUE = "queue"  # name of the queue that Label works on, bound
TEXT = "text"  # words of the series description, bound
TIMING = "timing"  # least and greatest TR and TE in ms, joined by ~
MEASURE = "measure"  # of doubt, that Errors sorts by, picked
KEPT = "kept"  # percent of slices that need no person, bound
TARGET = "target"  # accuracy asked of a class's answers, picked
LEVEL = "level"  # share of sets of answers that should hold the truth, picked
SETS = "sets"  # how sets of answers are made, picked
STRANGE = "strange"  # which opinion on strangeness is looked at, picked
STRANGE_FROM = "from"  # from where on a slice is strange, bound
ISSUE = "issue"  # "given|suggested" labels whose doubtful slices are shown, picked
CHANGE = "stress_change"  # what the stress bench does to a slice, picked,
CHANGED = "stress_slice"  # and to which, picked
SERIES = "series"  # SeriesInstanceUID whose slices are drawn along the stack
X_HEAD = "x_head"  # what a map is asked for on Explain: head, bound,
X_CLASS = "x_class"  # class, bound,
X_AGAINST = "x_against"  # class that it is told from, bound,
X_LAYER = "x_layer"  # layer, bound,
X_METHOD = "x_method"  # method, picked,
X_PASSES = "x_passes"  # and passes with dropout, picked
X_SHOW = "x_show"  # one map or which grid of them, bound
JURY = "jury"  # name of the jury that votes, or `OWN_JURY`; picked
OWN_JURY = "-own"  # a Siamese run's own jury; no other can have such a name
JURY_VOTE = "vote"  # its rule, picked
JURY_K = "count"  # references that count in a majority, bound
JURY_TARGET = "asked"  # accuracy asked of its answers in percent, bound
JURY_NEW = "new"  # whether a jury is being made, bound
PARTNER = "partner"  # key of the reference that the slice is compared with
PAIR = "pair"  # keys of two slices that are compared, joined by |
PAIR_METHOD = "pair_method"  # how maps of a pair are made, picked
LIKE = "like"  # key of the slice that a grid is sorted by likeness to


def facet(name: str) -> str:
    """Return the key of a facet's words, one or more in the address."""
    return f"in_{name}"


def pages() -> list:
    """Return the pages, in the order of the sidebar."""
    return [
        st.Page("pages/study.py", title="Study", icon=":material/folder_open:", url_path="start", default=True),
        st.Page("pages/browse.py", title="Browse", icon=":material/grid_view:"),
        st.Page("pages/label.py", title="Label", icon=":material/label:"),
        st.Page("pages/train.py", title="Train", icon=":material/model_training:"),
        st.Page("pages/errors.py", title="Errors", icon=":material/troubleshoot:"),
        st.Page("pages/explain.py", title="Explain", icon=":material/lightbulb:"),
        # Streamlit gives the default page the empty address; who writes its name means it, too.
        st.Page(_study, url_path="study", visibility="hidden"),
    ]


def _study() -> None:
    st.switch_page("pages/study.py", query_params=st.query_params.to_dict())


def by_front_door() -> None:
    """Make sure that ``app.py`` has run before the page that calls this.

    Until a session of the server has called ``st.navigation``, Streamlit runs files of a ``pages`` folder by
    themselves. So the first link into a fresh server would open a page without sidebar, style and choices.
    """
    if RUN not in st.session_state:
        st.navigation(pages())
        st.rerun()


def get(key: str, default: str = "") -> str:
    """Return what the address says for a key."""
    return st.query_params.get(key, default)


def get_all(key: str) -> list[str]:
    """Return all that the address says for a key."""
    return st.query_params.get_all(key)


def get_ids(key: str) -> list[str]:
    """Return the words of a key that are joined by a comma, each once."""
    return [word for word in dict.fromkeys(get(key).split(",")) if word]


def get_int(key: str, default: int = 0) -> int:
    """Return a whole number from the address; anything else counts as the default."""
    text = get(key)
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 9 else default


def put(**values: object) -> None:
    """Write keys to the address; a list stands there word by word, None or nothing removes a key."""
    for key, value in values.items():
        if value is None or value == "" or value == []:
            st.query_params.pop(key, None)
        else:
            st.query_params[key] = [str(one) for one in value] if isinstance(value, list) else str(value)


def pick(
    widget: Callable,
    label: str,
    words: Mapping[Any, str],
    key: str,
    *,
    default: Any = None,
    always: bool = False,
    on_change: Callable | None = None,
    **more: Any,
) -> Any:
    """Draw a choice whose short names stand in the address, whatever words it shows.

    Parameters
    ----------
    widget : callable
        ``st.selectbox``, ``st.segmented_control``, or that of a column.
    label : str
    words : mapping
        Names to the words that are shown.
    key : str
        Of the address.
    default : object, optional
        The name that is chosen where the address names none of them; without, the first.
    always : bool
        Whether that one stands in the address, too: where it may be another one tomorrow.
    on_change : callable, optional
        Called once the address holds another choice.
    **more
        What else the widget takes.

    Returns
    -------
    object
        The name that is chosen.
    """
    names, held = {str(name): name for name in words}, f"{key}-picked"
    usual = next(iter(words)) if default is None else default

    def write() -> None:
        chosen = st.session_state[held]
        put(**{key: None if chosen == usual and not always else chosen})
        if on_change:
            on_change()

    st.session_state[held] = names.get(get(key), usual)
    if always and get(key) not in names:
        put(**{key: usual})
    return widget(label, list(words), format_func=words.get, key=held, on_change=write, **more)


def choose(**values: object) -> None:
    """Set bound widgets (the sidebar's cohort and run, a page's view) from a callback."""
    for key, value in values.items():
        st.session_state[key] = value


def go_button(
    label: str,
    page: str,
    *,
    key: str,
    sidebar: dict[str, object] | None = None,
    icon: str | None = None,
    **values: object,
) -> None:
    """Draw a button that opens another page at a place.

    Parameters
    ----------
    label : str
    page : str
        File of the page, for example ``"pages/explain.py"``.
    key : str
        Streamlit key.
    sidebar : dict, optional
        New values of the sidebar's choices (`COHORT`, `RUN`).
    icon : str, optional
        Material icon.
    **values
        The other page's keys of the address.
    """
    on_click: Callable | None = partial(choose, **sidebar) if sidebar else None
    if st.button(label, key=key, icon=icon, on_click=on_click):
        st.switch_page(page, query_params={k: str(v) for k, v in values.items() if v not in (None, "")})
