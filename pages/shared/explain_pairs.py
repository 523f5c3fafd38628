"""Pairs of slices of a Siamese run: the hardest ones, and how well the same is told from the different."""

from core import runs
from pages.shared import widgets


def draw(run: runs.Run) -> None:
    """Draw this view of one run."""
    widgets.empty("Not made yet", "Pairs.")
