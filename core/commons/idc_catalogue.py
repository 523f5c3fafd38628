"""The child process that reads the index of the Imaging Data Commons for `core.commons.idc`, with DuckDB."""

from functools import lru_cache
from typing import Any

from core.child import serve


@lru_cache
def _database():
    """DuckDB with three views: series ``s``, collections ``c``, and ``sources``, what to cite by DOI."""
    import duckdb
    import idc_index_data

    # Nothing is written (the working folder is the project's) and nothing fetched.
    limits = {"threads": 2, "memory_limit": "512MB", "temp_directory": "", "autoinstall_known_extensions": False}
    database = duckdb.connect(config=limits)
    paths = {name: facts["parquet_filepath"] for name, facts in idc_index_data.INDEX_METADATA.items()}
    for view, name in {"s": "idc_index", "c": "collections_index", "a": "analysis_results_index"}.items():
        place = str(paths[name]).replace("'", "''")
        database.execute(f"CREATE VIEW {view} AS SELECT * FROM read_parquet('{place}')")
    database.execute("""
        CREATE VIEW sources AS
        SELECT lower(source_doi) AS doi, any_value(source_title) AS title,
               any_value(license.license_short_name) AS licence, any_value(license.license_long_name) AS licence_name,
               any_value(license.license_url) AS licence_url, any_value(citation) AS citation
        FROM (SELECT unnest(sources, max_depth := 2) FROM c) GROUP BY 1
        UNION
        SELECT lower(source_DOI), analysis_result_title, license_short_name, license_long_name, license_url, citation
        FROM a WHERE lower(source_DOI) NOT IN (SELECT lower(x.source_doi) FROM (SELECT unnest(sources) AS x FROM c))
    """)
    return database


def _answer(sql: str, values: list) -> tuple[dict, dict]:
    found = _database().execute(sql, values)
    return {"columns": [column[0] for column in found.description], "rows": found.fetchall()}, {}


def _fitting(query: dict[str, Any], collection: str, *names: str) -> tuple[str, list]:
    """SQL of a table ``fit`` with the series that fit, and the values it compares with; `collection` is a condition."""
    conditions, values = [collection], list(names)
    if query["modality"]:
        conditions.append("s.Modality = ?")
        values.append(query["modality"].strip().upper())
    if part := query["body_part"].strip().lower():
        conditions.append("(contains(lower(s.BodyPartExamined), ?) OR contains(lower(c.tumor_locations), ?))")
        values += [part, part]
    for word in query["words"].lower().split():
        absent = len(word) > 1 and word.startswith("-")
        conditions.append(f"{'NOT ' * absent}contains(coalesce(lower(s.SeriesDescription), ''), ?)")
        values.append(word[absent:])
    sql = f"SELECT s.* FROM s LEFT JOIN c USING (collection_id) WHERE {' AND '.join(conditions)}"
    if query["patients"]:
        sql += " QUALIFY dense_rank() OVER (PARTITION BY s.collection_id ORDER BY s.PatientID) <= ?"
        values.append(query["patients"])
    return f"WITH fit AS ({sql})", values


def _collections(request: dict, arrays: dict) -> tuple[dict, dict]:
    name = request["query"]["collection"].strip().lower()
    fit, values = _fitting(
        request["query"], "(contains(lower(s.collection_id), ?) OR contains(lower(c.collection_name), ?))", name, name
    )
    return _answer(
        f"""{fit}
        SELECT collection_id, any_value(c.collection_name) AS name, any_value(c.tumor_locations) AS location,
               count(DISTINCT PatientID) AS patients, count(*) AS series, sum(instanceCount)::BIGINT AS slices,
               sum(series_size_MB) / 1000 AS size_gb,
               string_agg(DISTINCT license_short_name, ', ' ORDER BY license_short_name) AS licence
        FROM fit LEFT JOIN c USING (collection_id) GROUP BY collection_id ORDER BY patients DESC, collection_id""",
        values,
    )


def _series(request: dict, arrays: dict) -> tuple[dict, dict]:
    fit, values = _fitting(request["query"], "s.collection_id = ?", request["query"]["collection"])
    return _answer(
        f"""{fit}
        SELECT collection_id, PatientID, SeriesInstanceUID, SeriesDescription, BodyPartExamined, Manufacturer,
               instanceCount AS slices, series_size_MB AS size_mb, license_short_name AS licence,
               source_DOI AS source_doi, aws_bucket AS bucket, crdc_series_uuid AS uuid
        FROM fit ORDER BY PatientID, SeriesDate, try_cast(SeriesNumber AS INTEGER), SeriesInstanceUID""",
        values,
    )


def _modalities(request: dict, arrays: dict) -> tuple[dict, dict]:
    sql = "SELECT DISTINCT Modality FROM s WHERE ? IN ('', collection_id) ORDER BY 1"
    return _answer(sql, [request["collection_id"]])


def _sources(request: dict, arrays: dict) -> tuple[dict, dict]:
    return _answer("SELECT * FROM sources WHERE list_contains(?, doi) ORDER BY doi", [request["dois"]])


if __name__ == "__main__":
    serve({"collections": _collections, "series": _series, "modalities": _modalities, "sources": _sources})
