"""Cohorts: slice tables in the workspace. This is the door; the rooms behind it stand in the imports.

On disk::

    workspace/key                            makes the pseudonyms; mode 0600
    workspace/private/<name>.parquet         where the files lie: real paths, which may name patients; mode 0600
    workspace/private/<name>.identities.json what must not be shown; mode 0600
    workspace/private/scan-<mark>.jsonl      what a scan has read so far, until it is written; mode 0600
    workspace/cohorts/<name>/
        cohort.parquet     one row a slice; `path` holds the shown path
        rejected.parquet   one row a file that gave none, with the reason
        cohort.json        name, root (as it may be shown), source, schema, created, counts
        label_log.jsonl    what people changed
        split.json         the default split, where somebody saved one
        queues/            slices that somebody picked to be labelled
        thumbnails/ embeddings/ fingerprints/    made on demand, safe to delete

So a cohort's folder holds no patient and can be passed on; it opens elsewhere too, though without its files
where a path named a patient.
"""

from core.cohorts.cohort_files import check_name, list_cohorts, read, read_unlogged, with_changes, write
from core.cohorts.cohort_scan import index, scan
from core.cohorts.manifest import export_manifest, import_manifest, manifest_json
from core.cohorts.pseudonyms import pseudonym
from core.cohorts.slice_table import (
    COLUMNS,
    REJECTED_COLUMNS,
    SCHEMA,
    Cohort,
    replaced,
    slice_key,
    slice_keys,
    write_table,
)
from core.labelling.label_log import LOG_NAME, append_label, append_labels, apply_label_log, read_log, undo_label

__all__ = [
    "COLUMNS", "LOG_NAME", "REJECTED_COLUMNS", "SCHEMA", "Cohort", "append_label", "append_labels", "apply_label_log",
    "check_name", "export_manifest", "import_manifest", "index", "list_cohorts", "manifest_json", "pseudonym", "read",
    "read_log", "read_unlogged", "replaced", "scan", "slice_key", "slice_keys", "undo_label", "with_changes", "write",
    "write_table",
]  # fmt: skip
