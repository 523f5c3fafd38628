"""What temperature scaling did to a run's probabilities: ``analyses/calibration.json``.

Predictions are stored calibrated. Scaling by T is undone by scaling by 1 / T, so what the network said before comes
from the same file and the card's temperature.
"""

from collections.abc import Callable

import numpy as np

from core import calibration
from core.analysis import analyses
from core.analysis.judged import Judged, judged, write_json
from core.comparing.bootstrap import FEW_PATIENTS
from core.comparing.patient_scores import SCORES, bootstrap_scores, score_totals
from core.runs import Run

FILE = "calibration.json"


def write(run: Run, report: Callable[[float, str], None]) -> None:
    """Write reliability, ECE and Brier score before and after scaling, by head and part."""
    found = {}
    for one in judged(run):
        fitted = one.known("validation")
        found[one.head] = {
            "temperature": one.temperature,
            # A run without validation slices took its temperature over, or has none.
            "fitted_slices": int(fitted.sum()),
            "fitted_patients": one.patients(fitted),
            "parts": {part: made for part in one.parts() if (made := _part(one, part))},
        }
    write_json(analyses.folder(run) / FILE, found)


def _part(one: Judged, part: str) -> dict | None:
    kept = one.known(part) & one.sound
    if not kept.any():
        return None
    after, y = one.proba[kept], one.y[kept]
    before = calibration.apply_temperature(after, 1 / one.temperature)
    names, codes = np.unique(one.rows["PatientID"][kept].to_numpy(str), return_inverse=True)
    made = {"slices": len(y), "patients": len(names), "few": len(names) < FEW_PATIENTS}
    for name, proba in (("before", before), ("after", after)):
        bins = calibration.reliability(proba, y)
        totals = score_totals(codes, y, proba.argmax(axis=1), proba.max(axis=1), len(one.names))
        low, high = bootstrap_scores(totals, len(one.names)).interval()
        at = SCORES.index("ECE")
        made[name] = {
            "ece": bins.ece, "low": float(low[at]), "high": float(high[at]), "brier": calibration.brier(proba, y),
            "confidence": bins.confidence, "accuracy": bins.accuracy, "count": bins.count,
        }  # fmt: skip
    return made
