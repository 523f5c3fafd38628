"""What the keyboard does here: a card that `?` opens."""

from collections.abc import Sequence

from pages.shared.components import register

_component = register(
    "key_help",
    '<div class="keys"><button type="button" aria-haspopup="dialog">Keys&ensp;?</button>'
    '<dialog aria-label="Keys"><h2>Keys</h2><dl></dl></dialog></div>',
)


def key_help(keys: Sequence[tuple[Sequence[str], str]], *, key: str) -> None:
    """Draw the button, and listen for `?`.

    Parameters
    ----------
    keys : sequence of (sequence of str, str)
        Names of keys that do the same, and what they do.
    key : str
        Streamlit key.
    """
    _component(key=key, data={"keys": [[list(names), meaning] for names, meaning in keys]})
