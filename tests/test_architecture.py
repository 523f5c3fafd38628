"""What may import what: core never Streamlit, light modules never TensorFlow."""

import ast
import json
import subprocess
import sys

import pytest

from core.settings import PROJECT_DIR

LIGHT = (
    "settings", "errors", "vocabulary", "child", "dicom", "sandbox", "sources", "images", "thumbnails", "labels",
    "cohort", "splits", "runs", "jobs", "inference", "evaluation", "uncertainty", "calibration", "series_vote",
    "classify", "figures", "facets", "overview", "cohort_figures", "subsets", "default_split", "similar", "leaks",
    "listing", "dicom_fast", "idc", "idc_download", "label_queue", "label_log", "label_report", "label_agreement",
    "model_answers", "header_table", "label_tables", "label_overrides", "label_reasons", "device_load", "queue_plan",
    "run_notes", "run_commands", "run_table", "compare", "compare_report", "compare_figures", "bootstrap",
    "patient_scores", "registry", "model_card", "model_zip", "model_check", "card_check", "tensorboard", "exports",
    "preflight", "pace_measure", "view_samples", "config", "presets", "run_words", "run_split", "training",
    "feature_store", "features", "warp", "checkpoints", "stopping", "epochs", "epoch_figures", "runners",
    "ray_runner", "ray_cluster", "ray_job", "carried", "analyses", "elsewhere", "positions", "stress",
    "stress_changes", "stress_figures", "report", "report_stored", "lessons", "lesson_results", "lesson_report",
    "lesson_figures", "confusion", "class_scores", "weak_spots", "error_figures", "judged", "doubt",
    "class_thresholds", "calibration_report", "conformal", "novelty", "novelty_report", "series_report",
    "doubt_figures", "neighbours", "label_issues", "judgements", "embedding_map", "map_figures",
    "side_jobs", "shortcut", "shortcut_figures", "jury_commands", "explanations.question", "explanations.map_desk",
    "explanations.map_store", "explanations.map_files", "explanations.head_frame", "explanations.cohort_maps",
    "explanations.heat_figures", "explanations.badge", "explanations.votes", "explanations.juries",
    "explanations.jury_making", "explanations.jury_columns", "explanations.pairs", "explanations.pair_figures",
)  # fmt: skip


def imported(path):
    """Yield the top-level names of every module that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def test_core_imports_neither_streamlit_nor_pages():
    guilty = {
        path.relative_to(PROJECT_DIR).as_posix(): bad
        for path in (PROJECT_DIR / "core").rglob("*.py")
        if (bad := {"streamlit", "pages", "app"} & set(imported(path)))
    }
    assert guilty == {}


@pytest.fixture(scope="module")
def loaded():
    """Import each light module in a fresh process each and say which heavy ones came along."""
    script = (
        "import importlib, json, sys\n"
        "answer = {}\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(f'core.{name}')\n"
        "    answer[name] = sorted({'tensorflow', 'keras', 'tf_keras_vis', 'streamlit', 'ray'} & set(sys.modules))\n"
        "print(json.dumps(answer))\n"
    )

    def ask(*names):
        return subprocess.run([sys.executable, "-c", script, *names], cwd=PROJECT_DIR, capture_output=True, text=True)

    return ask


def test_light_modules_load_without_tensorflow(loaded):
    # One process for all: a module that drags it in is the first of the list to have it.
    answer = loaded(*LIGHT)
    assert answer.returncode == 0, answer.stderr
    heavy = {name: modules for name, modules in json.loads(answer.stdout).items() if modules}
    assert heavy == {}


@pytest.mark.parametrize("name", ["classify", "cohort", "inference", "jobs"])
def test_doors_load_alone(loaded, name):
    """A light module that is imported first, as pages and the command line do, needs no other before it."""
    answer = loaded(name)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == f'{{"{name}": []}}'
