"""A demonstration: a model that reads a burned-in letter, perfect and worthless."""

from core import runs
from pages.shared import widgets


def draw(run: runs.Run) -> None:
    """Draw this view of one run."""
    widgets.empty("Not made yet", "The shortcut.")
