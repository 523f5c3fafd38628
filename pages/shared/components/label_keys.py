"""Buttons that label an item, each with a key; the keys work wherever on the page the focus is."""

from collections.abc import Callable, Mapping

import streamlit as st

from core.vocabulary import PLANES, SEQUENCES
from pages.shared.components import register

_component = register(
    "label_keys",
    '<div class="keys" role="group" aria-label="Labels and their keys"><div class="heads"></div>'
    '<div class="moves"></div><dialog class="help" aria-label="Keys"></dialog></div>',
)

#: Head → word → key: a letter of the word where one was left, else a digit.
WORD_KEYS = {
    "plane": dict(zip(PLANES, "acg", strict=True)),
    "sequence": dict(zip(SEQUENCES, "1e2fptwd34ilbm5zo", strict=True)),
}
#: Move → key as the browser names it, what stands on the button, what it does.
MOVES = {
    "accept": ("Enter", "Enter", "As the header says"),
    "previous": ("ArrowLeft", "←", "Previous"),
    "next": ("ArrowRight", "→", "Next"),
    "skip": ("s", "s", "Skip"),
    "undo": ("u", "u", "Undo"),
    "redo": ("r", "r", "Redo"),
    "select": ("x", "x", "Select"),
}


def label_keys(
    item: str,
    *,
    said: Mapping[str, str | None],
    asks: Mapping[str, bool],
    moves: Mapping[str, str],
    enabled: bool,
    turn: int,
    on_press: Callable[[str, str, str], None],
    key: str,
) -> None:
    """Draw the buttons and listen to the keys.

    Parameters
    ----------
    item : str
        Key of the item that is shown; what is pressed is an answer to this one.
    said : mapping
        By head, the person's present answer.
    asks : mapping
        By head, whether it is asked; one that is not asked can be answered all the same.
    moves : mapping
        Of `MOVES` those that can be made now, with what their button says.
    enabled : bool
        Whether labels can be given.
    turn : int
        Another number each time the page is drawn: until then the browser holds back what is pressed.
    on_press : callable
        Called with the item, what was pressed (a head, or one of `MOVES`) and the word of a label.
    key : str
        Streamlit key.
    """

    def pressed() -> None:
        press = st.session_state[key].get("pressed")
        if press:
            on_press(*map(str, press))

    data = {
        "item": item,
        "turn": turn,
        "enabled": enabled,
        "heads": [
            {
                "name": head,
                "asked": asks[head],
                "said": said[head],
                "words": [{"word": word, "key": letter} for word, letter in words.items()],
            }
            for head, words in WORD_KEYS.items()
        ],
        "moves": [
            {"name": name, "key": code, "cap": cap, "text": moves.get(name, text), "can": name in moves}
            for name, (code, cap, text) in MOVES.items()
        ],
    }
    _component(key=key, data=data, on_pressed_change=pressed)
