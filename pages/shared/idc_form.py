"""Search of the Imaging Data Commons, and the download of what was found; a cohort's sources and licences."""

import pandas as pd
import streamlit as st

from core import cohort
from core.commons import idc, idc_download
from core.commons.idc_download import Download
from core.errors import CoreError
from pages.shared import cached, state, widgets

#: Series that are listed; the download takes all that fit.
LISTED = 500
COLLECTION_COLUMNS = {
    "name": "Collection",
    "location": "Where",
    "patients": st.column_config.NumberColumn("Patients", format="localized"),
    "series": st.column_config.NumberColumn("Series", format="localized"),
    "slices": st.column_config.NumberColumn("Slices", format="localized"),
    "size_gb": st.column_config.NumberColumn("Size in GB", format="%.1f"),
    "licence": "Licence",
}
SERIES_COLUMNS = {
    "PatientID": "Patient",
    "SeriesDescription": st.column_config.TextColumn("Series", width="large"),
    "BodyPartExamined": "Body part",
    "Manufacturer": "Vendor",
    "slices": st.column_config.NumberColumn("Slices", format="localized"),
    "size_mb": st.column_config.NumberColumn("Size in MB", format="%.1f"),
    "licence": "Licence",
}


def form() -> None:
    """Draw what is being downloaded, the search, and the collections or one collection's series."""
    if not idc.installed():
        widgets.empty(
            "The Imaging Data Commons is an extra",
            'Install it from the project\'s folder with `.venv/bin/python -m pip install -e ".[idc]"`, then start the '
            "app again.",
            ":material/extension:",
        )
        return
    release = idc.index_version().partition(".")[0]
    st.markdown(
        "The [NCI Imaging Data Commons](https://imaging.datacommons.cancer.gov) holds public images of cancer. "
        f"Searching (version {release}) needs no network, downloading does."
    )
    for download in idc_download.list_downloads():
        _show(download)
    collection = state.get(state.COLLECTION)
    query = _query(collection)
    if collection:
        _series(query)
    else:
        _collections(query)


def attribution(made: cohort.Cohort) -> None:
    """Draw the sources and licences of a cohort that was downloaded."""
    text = idc.read_attribution(made)
    if not text:
        return
    with st.expander("Sources and licences, to be named wherever these images are shown", icon=":material/copyright:"):
        st.markdown(text.replace("\n## ", "\n##### "))
        st.download_button("Save as text", text, idc.ATTRIBUTION_NAME, "text/markdown", icon=":material/download:")


def _query(collection: str) -> idc.Query:
    """Draw the fields of the search; what a collection is called is asked for where none is open."""
    columns = st.columns([1.6, 0.8, 1.2, 2, 0.9], gap="small", vertical_alignment="bottom")
    if collection:
        back = columns[0].button("All collections", icon=":material/arrow_back:", width="stretch")
        if back:
            state.put(**{state.COLLECTION: None})
            st.rerun()
        named = collection
    else:
        named = columns[0].text_input(
            "Collection", key="idc_collection", bind="query-params", placeholder="part of its name"
        )
    there = cached.idc_modalities()
    modality = columns[1].selectbox("Modality", there, index=there.index("MR"), key="idc_modality", bind="query-params")
    part = columns[2].text_input(
        "Body part", "brain", key="idc_part", bind="query-params", placeholder="any",
        help="Part of the body part in the files, or of where the collection's tumours are.",
    )  # fmt: skip
    words = columns[3].text_input(
        "Series", key="idc_words", bind="query-params", placeholder="words of the description, -word to leave out"
    )
    patients = columns[4].number_input(
        "Patients, at most", 0, key="idc_patients", bind="query-params", help="Of each collection; 0 for all."
    )
    return idc.Query(named, modality, part, words, int(patients))


def _collections(query: idc.Query) -> None:
    found = cached.idc_collections(query)
    if found.empty:
        widgets.empty("No collection fits", "Ask for less: empty one of the fields.", ":material/search_off:")
    else:
        st.caption(f"{len(found):,} collections, counted over the series that fit. Tick one to see its series.")

        def choose() -> None:
            rows = st.session_state["idc-collections"].selection.rows
            state.put(**{state.COLLECTION: found["collection_id"].iloc[rows[0]] if rows else None})

        st.dataframe(
            found[list(COLLECTION_COLUMNS)], hide_index=True, column_config=COLLECTION_COLUMNS, on_select=choose,
            selection_mode="single-row", key="idc-collections",
        )  # fmt: skip
    if said := cached.about_tcga_gbm():
        st.info(said, icon=":material/info:")


def _series(query: idc.Query) -> None:
    found = cached.idc_series(query)
    st.markdown(f"### {query.collection}")
    if found.empty:
        widgets.empty("No series fits", "Ask for less: empty one of the fields.", ":material/search_off:")
        return
    listed = f"The first {LISTED} of {len(found):,} series are listed" if len(found) > LISTED else "All are listed"
    st.caption(f"{listed}. Mark rows to take these alone; without a mark all {len(found):,} that fit are taken.")
    marked = st.dataframe(
        found[list(SERIES_COLUMNS)].head(LISTED).fillna(""), hide_index=True, column_config=SERIES_COLUMNS,
        on_select="rerun", selection_mode="multi-row", key=f"idc-series-{query}",
    ).selection.rows  # fmt: skip
    _order(found.iloc[marked] if marked else found, query.collection)


def _order(series: pd.DataFrame, collection: str) -> None:
    """Say what the download takes and under which licence, and begin it once the licence was read."""
    size = series["size_mb"].sum() / 1000
    widgets.metrics({
        "Patients": f"{series['PatientID'].nunique():,}", "Series": f"{len(series):,}",
        "Slices": f"{series['slices'].sum():,}", "Size": f"{size:.2f} GB" if size >= 0.1 else f"{1000 * size:.1f} MB",
    })  # fmt: skip
    licences = sorted(series["licence"].dropna().unique())
    with st.container(border=True):
        st.markdown(f"**Licence: {', '.join(licences) or 'not stated in the index'}**")
        for source in cached.idc_sources(tuple(series["source_doi"].unique())).itertuples():
            st.caption(f"[{source.licence_name}]({source.licence_url}). To be cited: {source.citation}")
        # Another licence is another tick.
        read = st.checkbox("I have read the licence, and keep to it", key=f"idc-read-{collection}-{licences}")
        with st.container(horizontal=True, vertical_alignment="bottom"):
            name = st.text_input("Name of the cohort", collection[:40], key=f"idc-name-{collection}", width=320)
            go = st.button("Download", type="primary", icon=":material/cloud_download:", disabled=not read)
    if go:
        idc_download.submit(name.strip(), series)
        st.rerun()


def _show(download: Download) -> None:
    """Draw how far a download is, or how it ended and what can be done about it."""
    status = download.status
    if status["state"] == "running":
        _follow(download)
        return
    if status["state"] == "done":
        if st.session_state.get("idc-followed") == download.name:
            st.success(f"{status['message']}. Choose it in the sidebar.", icon=":material/check_circle:")
        return
    with st.container(border=True):
        st.markdown(
            f"**{download.name}** · {status['state']}, {status['series_done']:,} of {status['series_total']:,} series "
            f"are there. {status['message']}"
        )
        with st.container(horizontal=True):
            again = st.button("Resume", key=f"idc-resume-{download.name}", icon=":material/resume:")
            discard = st.button("Discard", key=f"idc-discard-{download.name}", icon=":material/delete:")
    if again:
        idc_download.resume(download.name)
    if discard:
        idc_download.discard(download.name)
    if again or discard:
        st.rerun()


@st.fragment(run_every=0.5)
def _follow(download: Download) -> None:
    """Draw the progress of a running download; draw the page anew when it ends."""
    st.session_state["idc-followed"] = download.name
    status = download.status
    if status["state"] != "running":
        st.rerun()
    with st.container(border=True):
        share = min(1.0, status["done"] / max(1, status["total"]))
        st.progress(share, text=f"{download.name} · {idc_download.progress_words(status)}")
        stop = st.button("Cancel", key=f"idc-cancel-{download.name}", icon=":material/stop_circle:")
    if stop:
        try:
            idc_download.cancel(download.name)
        except CoreError as error:
            st.error(str(error))
