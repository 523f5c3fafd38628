"""Maps of many slices together: where decisions are made, by class and plane."""

from core import runs
from pages.shared import widgets


def draw(run: runs.Run) -> None:
    """Draw this view of one run."""
    widgets.empty("Not made yet", "Maps of many slices.")
