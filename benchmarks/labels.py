"""Header labels on real DICOM files, witness by witness, beside simpler ways and two programs of others.

``python -m benchmarks.labels [--dcm-classifier PYTHON] [--dcm2niix PROGRAM]`` reads the folder that
``SLICESCOPE_REAL_DATA`` names and prints right, wrong and silent for each, and a score in which a wrong label counts
-1 and silence 0. The two programs are not needed by the project: install them in an environment of their own
(``pip install dcm-classifier==0.9.9 dcm2niix``) and name its interpreter and its program. Ours judges each file alone,
by the header of its middle slice; theirs get the files of a series together, which is how they are meant.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from core import sources
from core.labels import sequence_from_header, sequence_from_physics, sequence_from_text
from core.settings import get_settings
from core.vocabulary import sequence_from

#: What a script of an afternoon looks for in descriptions, in order.
KEYWORDS = {
    "flair": "FLAIR", "adc": "ADC", "_fa": "FA", "bold": "BOLD", "fmri": "BOLD", "asl": "ASL", "dwi": "DWI",
    "dti": "DWI", "diff": "DWI", "field": "FIELDMAP", "swi": "SWI", "tof": "MRA", "loc": "LOCALIZER", "perf": "PWI",
    "t2*": "T2STAR", "t1": "T1", "mprage": "T1", "t2": "T2", "pd": "PD",
}  # fmt: skip
#: Another's word for a sequence, lower case, to ours.
DCM_CLASSIFIER = {"t1w": "T1", "t2w": "T2", "flair": "FLAIR", "adc": "ADC", "fa": "FA", "pdw": "PD", "pd": "PD",
                  "dwig": "DWI", "b0": "DWI", "tracew": "DWI", "dwi_multishell": "DWI", "dwig_multishell": "DWI",
                  "gret2star": "T2STAR", "fmrig": "BOLD", "fmri": "BOLD", "perfusion": "PWI", "swi": "SWI",
                  "mra": "MRA"}  # fmt: skip
BIDS = {"T1w": "T1", "T2w": "T2", "FLAIR": "FLAIR", "PDw": "PD", "dwi": "DWI", "sbref": "BOLD", "bold": "BOLD",
        "asl": "ASL", "m0scan": "ASL", "T2starw": "T2STAR", "swi": "SWI", "angio": "MRA", "ADC": "ADC", "FA": "FA",
        "trace": "DWI", "magnitude1": "FIELDMAP", "magnitude2": "FIELDMAP", "magnitude": "FIELDMAP",
        "phasediff": "FIELDMAP", "phase1": "FIELDMAP", "phase2": "FIELDMAP", "fieldmap": "FIELDMAP"}  # fmt: skip
ASK_DCM_CLASSIFIER = """
import contextlib, io, json, sys
from pathlib import Path
import dcm_classifier
from dcm_classifier.image_type_inference import ImageTypeClassifierBase
from dcm_classifier.study_processing import ProcessOneDicomStudyToVolumesMappingBase
answers = {}
for folder in sorted(Path(sys.argv[1]).iterdir()):
    word = None
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            study = ProcessOneDicomStudyToVolumesMappingBase(folder, inferer=ImageTypeClassifierBase())
            study.run_inference()
        words = [v.get_volume_modality() for s in study.series_dictionary.values() for v in s.get_volume_list()]
        word = words[0] if words else None
    except Exception as error:  # whatever it cannot read is an answer too: none
        print(folder.name, type(error).__name__, error, file=sys.stderr)
    answers[folder.name] = word
print(json.dumps(answers))
"""


def by_keywords(header: dict) -> str | None:
    """Name the sequence by the first keyword in the series description."""
    text = str(header.get("SeriesDescription", "")).lower()
    return next((label for word, label in KEYWORDS.items() if word in text), None)


def by_times(header: dict) -> str | None:
    """Name the sequence by the thresholds of a textbook, whatever the pulse sequence."""
    tr, te, ti = (header.get(name) for name in ("RepetitionTime", "EchoTime", "InversionTime"))
    if not isinstance(tr, float) or not isinstance(te, float):
        return None
    if isinstance(ti, float) and ti > 1500:
        return "FLAIR"
    if tr < 1000 or (isinstance(ti, float) and ti > 300):
        return "T1" if te < 30 else "T2STAR"
    return "T2" if te > 60 else "PD"


def judge(name: str, answers: dict[str, str | None], truths: dict[str, str]) -> None:
    """Print how many answers are right, wrong and missing."""
    verdicts = Counter(
        "silent" if answers.get(path) is None else "right" if answers[path] == truth else "wrong"
        for path, truth in truths.items()
    )
    right, wrong = verdicts["right"], verdicts["wrong"]
    print(f"{name:32}{right:7}{wrong:7}{verdicts['silent']:8}{right - wrong:7}")


def in_folders(root: Path, series: dict[str, list[str]], into: Path) -> dict[Path, list[str]]:
    """Copy the files of each series into a folder of its own."""
    folders = {}
    for number, paths in enumerate(series.values()):
        folder = into / f"{number:04}"
        folder.mkdir()
        for place, path in enumerate(paths):
            shutil.copy(root / path, folder / f"{place:04}.dcm")
        folders[folder] = paths
    return folders


def ask_dcm_classifier(python: str, folders: dict[Path, list[str]]) -> dict[str, str | None]:
    """Ask dcm-classifier in the environment of another interpreter."""
    root = next(iter(folders)).parent
    asked = subprocess.run([python, "-c", ASK_DCM_CLASSIFIER, root], capture_output=True, text=True)
    if asked.returncode:
        sys.exit(f"dcm-classifier did not run: {asked.stderr.strip().splitlines()[-1]}")
    words = json.loads(asked.stdout.strip().splitlines()[-1])
    return {
        path: DCM_CLASSIFIER.get(str(words[folder.name]).lower()) for folder, paths in folders.items() for path in paths
    }


def ask_dcm2niix(program: str, folders: dict[Path, list[str]]) -> dict[str, str | None]:
    """Ask dcm2niix for its BidsGuess."""
    answers: dict[str, str | None] = {}
    for folder, paths in folders.items():
        subprocess.run([program, "-b", "o", "-f", "x", "-o", folder, folder], capture_output=True, text=True)
        guesses = [json.loads(file.read_text("utf-8")).get("BidsGuess") for file in sorted(folder.glob("*.json"))]
        suffix = guesses[0][1].rsplit("_", 1)[-1] if guesses and guesses[0] else ""
        answers |= dict.fromkeys(paths, BIDS.get(suffix))
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--dcm-classifier", metavar="PYTHON", help="interpreter that has dcm-classifier 0.9.9")
    parser.add_argument("--dcm2niix", metavar="PROGRAM", default=shutil.which("dcm2niix"), help="dcm2niix itself")
    asked = parser.parse_args()
    root = get_settings().real_data
    if root is None or not (root / "labels.csv").exists():
        sys.exit("SLICESCOPE_REAL_DATA names no folder with a labels.csv")
    table = pd.read_csv(root / "labels.csv")
    table = table[table["kind"] == "dicom"]
    truths = {path: sequence_from(word) for path, word in zip(table["path"], table["sequence"], strict=True)}
    headers, series = {}, defaultdict(list)
    for path in truths:
        read = sources.read_headers(root / path)
        headers[path] = read[len(read) // 2]
        series[read[0].get("SeriesInstanceUID") or path].append(path)
    ways: dict[str, Callable[[dict], str | None]] = {
        "verdict": lambda header: sequence_from_header(header)[0].value,
        "  physics alone": lambda header: sequence_from_physics(header).value,
        "  text alone": lambda header: sequence_from_text(header).value,
        "keywords of the description": by_keywords,
        "TR, TE and TI thresholds": by_times,
    }
    print(f"{f'{len(truths)} DICOM files':32}{'right':>7}{'wrong':>7}{'silent':>8}{'score':>7}")
    for name, way in ways.items():
        judge(name, {path: way(header) for path, header in headers.items()}, truths)
    for name, program, ask in (
        ("dcm-classifier", asked.dcm_classifier, ask_dcm_classifier),
        ("dcm2niix BidsGuess", asked.dcm2niix, ask_dcm2niix),
    ):
        if program:
            with tempfile.TemporaryDirectory() as temporary:
                judge(name, ask(program, in_folders(root, series, Path(temporary))), truths)
        else:
            print(f"{name:32}not installed: left out")


if __name__ == "__main__":
    main()
