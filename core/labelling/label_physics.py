"""The sequence as the scanner's own codes and timings tell it, never a person's words."""

from dataclasses import replace

from core.labelling import label_codes, label_timings
from core.labelling.label_scan import Scan
from core.labelling.label_witness import Finding, Header, Rule, quote, words


def read_physics(header: Header) -> Finding:
    """Name the sequence from the scanner's codes and timings.

    Parameters
    ----------
    header : mapping
        As from `core.sources.read_headers`.

    Returns
    -------
    Finding
        Its ``contrast`` is always None: an agent attribute alone proves nothing either way.
    """
    scan = Scan(header)
    if words(header, "SpectroscopyAcquisitionType"):
        return Finding()
    if rule := _first(label_codes.RULES, scan):
        finding = rule.finding(label_codes.evidence(rule, scan))
        # A derived picture may be a map of something that its pulse sequence is not named after.
        widened = scan.derived and rule in label_codes.PULSE_SEQUENCES
        return replace(finding, possible=finding.possible.union(label_codes.DERIVED)) if widened else finding
    timed, stated = _first(label_timings.RULES, scan), _first(label_timings.STATED, scan)
    if timed is None or (timed.value is None and stated and stated.value in timed.possible):
        timed = stated
    if timed is None:
        return Finding()
    finding = timed.finding(quote(header, *timed.reads))
    return replace(finding, possible=finding.possible.union(label_codes.DERIVED)) if scan.derived else finding


def _first(rules: tuple[Rule, ...], scan: Scan) -> Rule | None:
    return next((rule for rule in rules if rule.when(scan)), None)
