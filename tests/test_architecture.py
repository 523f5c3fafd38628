"""What may import what: core never Streamlit, light modules never TensorFlow."""

import ast
import json
import subprocess
import sys

import pytest

from core.settings import PROJECT_DIR

LIGHT = (
    "calibration", "child", "classify", "cohort", "config", "dicom", "errors", "evaluation", "figures", "images",
    "inference", "jobs", "labels", "novelty", "runs", "sandbox", "series_vote", "settings", "sources", "splits",
    "thumbnails", "training", "uncertainty", "vocabulary", "analysis.analyses", "analysis.calibration_report",
    "analysis.class_scores", "analysis.class_thresholds", "analysis.conformal", "analysis.confusion", "analysis.doubt",
    "analysis.doubt_figures", "analysis.elsewhere", "analysis.embedding_map", "analysis.error_figures",
    "analysis.judged", "analysis.judgements", "analysis.label_issues", "analysis.map_figures", "analysis.neighbours",
    "analysis.novelty_report", "analysis.positions", "analysis.report", "analysis.report_stored",
    "analysis.series_report", "analysis.stress", "analysis.stress_changes", "analysis.stress_figures",
    "analysis.weak_spots", "cohorts.cohort_figures", "cohorts.default_split", "cohorts.facets", "cohorts.header_table",
    "cohorts.leaks", "cohorts.listing", "cohorts.overview", "cohorts.similar", "cohorts.subsets",
    "commands.jury_commands", "commands.run_commands", "commons.idc", "commons.idc_download", "comparing.bootstrap",
    "comparing.compare", "comparing.compare_figures", "comparing.compare_report", "comparing.patient_scores",
    "comparing.run_notes", "comparing.run_table", "explanations.badge", "explanations.cohort_maps",
    "explanations.head_frame", "explanations.heat_figures", "explanations.in_process", "explanations.juries",
    "explanations.jury_columns", "explanations.jury_making", "explanations.map_desk", "explanations.map_files",
    "explanations.map_store", "explanations.pair_figures", "explanations.pairs", "explanations.question",
    "explanations.shortcut", "explanations.shortcut_figures", "explanations.votes", "labelling.label_agreement",
    "labelling.label_log", "labelling.label_overrides", "labelling.label_queue", "labelling.label_reasons",
    "labelling.label_report", "labelling.label_tables", "labelling.model_answers", "learning.checkpoints",
    "learning.epoch_figures", "learning.epochs", "learning.feature_store", "learning.features",
    "learning.lesson_figures", "learning.lesson_report", "learning.lesson_results", "learning.lessons",
    "learning.pace_measure", "learning.preflight", "learning.presets", "learning.run_split", "learning.run_words",
    "learning.stopping", "learning.view_samples", "learning.warp", "publishing.card_check", "publishing.exports",
    "publishing.model_card", "publishing.model_check", "publishing.model_zip", "publishing.registry",
    "publishing.tensorboard", "queueing.carried", "queueing.device_load", "queueing.queue_plan", "queueing.ray_cluster",
    "queueing.ray_job", "queueing.ray_runner", "queueing.runners", "queueing.side_jobs", "reading.dicom_fast",
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


def test_pages_cache_in_one_package_and_ask_its_door():
    """``cached.x(...)`` is the one way to what is cached: no page imports a module behind it."""
    house = PROJECT_DIR / "pages" / "shared" / "cached"
    guilty = {
        path.relative_to(PROJECT_DIR).as_posix(): bad
        for path in (PROJECT_DIR / "app.py", *(PROJECT_DIR / "pages").rglob("*.py"))
        if house not in path.parents
        and (bad := [word for word in ("st.cache_", "pages.shared.cached") if word in path.read_text("utf-8")])
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
