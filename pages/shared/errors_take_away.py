"""What can be taken away from the Errors page: predictions, tables, the report."""

import io
import zipfile

import streamlit as st

from core import runs
from core.analysis import analyses, report
from core.publishing import exports


def draw(run: runs.Run) -> None:
    """Draw the menu; every file is made when it is asked for."""
    with st.popover("Take away", icon=":material/download:", help="Predictions, tables and the whole analysis."):
        st.markdown("**The whole analysis** as one page that needs no network")
        pictures = st.checkbox(
            "With the worst mistakes as pictures", key="report-pictures",
            help="Pictures of patients then leave this house. Without them no picture stands in the report.",
        )  # fmt: skip
        _button("Report", lambda: report.html(run, pictures), f"{run.id}-report.html", "text/html",
                "Scores, matrices, calibration, stress curves, the model card; light, dark, printable.")  # fmt: skip
        st.markdown("**Predictions**, a row a slice with the keys of the slice table")
        with st.container(horizontal=True):
            _button("CSV", lambda: exports.predictions_csv(run), f"{run.id}-predictions.csv", "text/csv",
                    "To four decimals.")  # fmt: skip
            _button("Parquet", lambda: exports.predictions_parquet(run), f"{run.id}-predictions.parquet",
                    "application/vnd.apache.parquet", "Every digit.")  # fmt: skip
        if any(analyses.folder(run).glob("*.parquet")):
            st.markdown("**Tables of the analyses** as CSV")
            _button("All tables", lambda: tables_zip(run), f"{run.id}-tables.zip", "application/zip",
                    "What the views are drawn from, a file a table.")  # fmt: skip
        st.caption("Patients stand in these files by their pseudonyms. Every chart has a menu of its own below it.")


def tables_zip(run: runs.Run) -> bytes:
    """Pack the tables of a run's analyses as CSV."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, data in exports.analysis_tables(run).items():
            pack.writestr(name, data)
    return out.getvalue()


def _button(label: str, make, name: str, kind: str, meaning: str) -> None:
    st.download_button(
        label, make, name, kind, key=f"take-{name}", on_click="ignore", icon=":material/download:", help=meaning
    )
