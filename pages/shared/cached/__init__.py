"""What pages cache, and the only place with ``st.cache_data`` and ``st.cache_resource``.

Both are shared by all sessions. Every key holds what the answer depends on (a file's change time, a
run's id, a slice's place), never just a name, so nothing stale is shown; arguments with an underscore
are not part of the key. What is returned is read-only.

This is the door: pages ask ``cached.x(...)``, whatever module behind it holds x.
"""

from pages.shared.cached.analyses import (
    analysis,
    class_curves,
    class_scores,
    issues_of,
    map_of,
    neighbours_of,
    of_analysis,
    position_figures,
    slices_of_spot,
    stress_figure,
    stress_head,
    stress_seconds,
    stress_strip,
    weak_spots,
)
from pages.shared.cached.answers import (
    Verdicts,
    asked,
    heads_and_parts,
    kept_samples,
    mc_samples,
    places_of,
    predictions,
    predictions_of,
    verdicts,
)
from pages.shared.cached.cohorts import (
    embeddings,
    facet_index,
    grid_rows,
    headers,
    manifest,
    open_cohort,
    overview,
    overview_figures,
    series_rows,
    split,
    split_facts,
    study_series,
)
from pages.shared.cached.commons import about_tcga_gbm, idc_collections, idc_modalities, idc_series, idc_sources
from pages.shared.cached.juries import jury, jury_trial_figure, ruled_jury, verdict
from pages.shared.cached.labels import label_csv, label_lines, label_table, labels_given, queue, standing_batches
from pages.shared.cached.maps import badge_table, explain, explain_pair, shortcut_figure, shortcut_result
from pages.shared.cached.runs import (
    card_sections,
    comparison,
    comparison_figures,
    epoch_answers,
    finished,
    learning_curve,
    run_configs,
    run_table,
)
from pages.shared.cached.slices import (
    attributes,
    cohort_pixels,
    cohort_sheet,
    frame_of_reference,
    pair_sheet,
    piece,
    run_sheet,
    stack,
)
from pages.shared.cached.studies import study_csv, study_piece, study_pixels, study_stack, study_tables
from pages.shared.cached.training import lesson_result, list_lessons, preflight_look, sample_strip, weights_stamp

__all__ = [
    "Verdicts", "about_tcga_gbm", "analysis", "asked", "attributes", "badge_table", "card_sections", "class_curves",
    "class_scores", "cohort_pixels", "cohort_sheet", "comparison", "comparison_figures", "embeddings",
    "epoch_answers", "explain", "explain_pair", "facet_index", "finished", "frame_of_reference", "grid_rows",
    "headers", "heads_and_parts", "idc_collections", "idc_modalities", "idc_series", "idc_sources", "issues_of",
    "jury", "jury_trial_figure", "kept_samples", "label_csv", "label_lines", "label_table", "labels_given",
    "learning_curve", "lesson_result", "list_lessons", "manifest", "map_of", "mc_samples", "neighbours_of",
    "of_analysis", "open_cohort", "overview", "overview_figures", "pair_sheet", "piece", "places_of",
    "position_figures", "predictions", "predictions_of", "preflight_look", "queue", "ruled_jury", "run_configs",
    "run_sheet", "run_table", "sample_strip", "series_rows", "shortcut_figure", "shortcut_result", "slices_of_spot",
    "split", "split_facts", "stack", "standing_batches", "stress_figure", "stress_head", "stress_seconds",
    "stress_strip", "study_csv", "study_piece", "study_pixels", "study_series", "study_stack", "study_tables",
    "verdict", "verdicts", "weak_spots", "weights_stamp",
]  # fmt: skip
