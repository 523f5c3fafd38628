"""The label log as tables: one that labels the same slices elsewhere, and one for people to read."""

import pandas as pd

from core.labelling.label_log import keys_of, rows_by_key, standing, undone_by

#: Columns of `label_table`.
LABEL_COLUMNS = ("path", "SeriesInstanceUID", "SOPInstanceUID", "frame", "plane", "sequence", "by", "at")


def label_table(table: pd.DataFrame, log: list[dict]) -> pd.DataFrame:
    """List what people said, a row a slice, as a table that labels the same slices elsewhere.

    Parameters
    ----------
    table : DataFrame
        Slice table.
    log : list of dict
        From `read_log`.

    Returns
    -------
    DataFrame
        `LABEL_COLUMNS`. ``path`` is the shown one. A head that nobody labelled is missing; ``by`` and ``at`` are
        those of the newest answer.
    """
    lines = standing(log)
    rows_of = rows_by_key(table, lines)
    said: dict = {}
    for line in lines:
        for row in (row for key in keys_of(line) for row in rows_of.get(key, ())):
            said[row] = said.get(row, {}) | {line["column"]: line["new"], "by": line["by"], "at": line["at"]}
    answers = pd.DataFrame(list(said.values()), index=list(said), columns=["plane", "sequence", "by", "at"])
    facts = table.loc[table.index.isin(answers.index), ["shown_path", "SeriesInstanceUID", "SOPInstanceUID", "frame"]]
    return facts.rename(columns={"shown_path": "path"}).join(answers).reset_index(drop=True)[list(LABEL_COLUMNS)]


def log_table(table: pd.DataFrame, log: list[dict]) -> pd.DataFrame:
    """List the answers of a log for people to read, newest first.

    Parameters
    ----------
    table : DataFrame
        Slice table.
    log : list of dict
        From `read_log`.

    Returns
    -------
    DataFrame
        Indexed by the line's ``id``: ``at``, ``by``, ``what`` (the slices in words), ``column``, ``old``, ``new``,
        ``undone``.
    """
    lines, undone = [line for line in reversed(log) if "key" in line], undone_by(log)
    rows_of = rows_by_key(table, lines)
    firsts = table.loc[list({rows[0] for rows in rows_of.values()}), ["PatientID", "SeriesDescription", "image_number"]]
    names = {
        row: (patient, text, n) for row, patient, text, n in firsts.fillna({"SeriesDescription": "–"}).itertuples()
    }

    def what(line: dict) -> str:
        key, *others = keys_of(line)
        if others:
            return f"{len(others) + 1} items together"
        if key not in rows_of:
            return "not in this cohort any more"
        patient, description, number = names[rows_of[key][0]]
        return f"{patient} · {description}" + (f" · slice {number}" if ":" in key else "")

    facts = [
        {**{name: line[name] for name in ("id", "at", "by", "column", "old", "new")}, "what": what(line),
         "undone": line["id"] in undone}
        for line in lines
    ]  # fmt: skip
    columns = ["id", "at", "by", "what", "column", "old", "new", "undone"]
    return pd.DataFrame(facts, columns=columns).set_index("id")
