"""A model travels as a zip: what is exported comes back the same, and anything else is refused in one sentence."""

import io
import json
import shutil
import struct
import zipfile

import h5py
import keras
import numpy as np
import pandas as pd
import pytest

from core import bundle, inference, runs
from core.config import BACKBONES, KINDS, RunConfig
from core.errors import BundleError, CoreError, RunError
from core.explanations.jury import Jury
from core.models import BUILDERS
from core.publishing import model_check, model_zip, registry
from core.settings import get_settings

MODEL, CARD = "bundle/model.keras", "bundle/card.json"


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as pack:
        return {name: pack.read(name) for name in pack.namelist()}


def packed(files: dict[str, bytes], signed: bool = True) -> bytes:
    """Zip files; `signed` writes a manifest that fits them, as a hostile author would."""
    if signed and "manifest.json" in files:
        manifest = json.loads(files["manifest.json"])
        sums = {name: model_zip.hashlib.sha256(data).hexdigest() for name, data in files.items()}
        manifest["sha256"] = {name: digest for name, digest in sums.items() if name != "manifest.json"}
        files = {**files, "manifest.json": json.dumps(manifest).encode()}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, data in files.items():
            pack.writestr(name, data)
    return out.getvalue()


def with_card(files: dict[str, bytes], **changes) -> dict[str, bytes]:
    return {**files, CARD: json.dumps({**json.loads(files[CARD]), **changes}).encode()}


def with_model(files: dict[str, bytes], model: bytes) -> dict[str, bytes]:
    """Replace the model, and let the card vouch for it."""
    return with_card({**files, MODEL: model}, sha256=model_zip.hashlib.sha256(model).hexdigest())


def with_part(files: dict[str, bytes], name: str, change) -> dict[str, bytes]:
    parts = members(files[MODEL])
    return with_model(files, packed({**parts, name: change(parts[name])}, signed=False))


def with_config(files: dict[str, bytes], change) -> dict[str, bytes]:
    def changed(text: bytes) -> bytes:
        config = json.loads(text)
        change(config)
        return json.dumps(config).encode()

    return with_part(files, "config.json", changed)


def with_weights(files: dict[str, bytes], change, tmp_path) -> dict[str, bytes]:
    def changed(data: bytes) -> bytes:
        path = tmp_path / "weights.h5"
        path.write_bytes(data)
        with h5py.File(path, "r+") as file:
            change(file)
        return path.read_bytes()

    return with_part(files, "model.weights.h5", changed)


@pytest.fixture(scope="module")
def exported(tmp_path_factory, finished):
    """Members of an export of each kind, made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLICESCOPE_WORKSPACE", str(tmp_path_factory.mktemp("exporter")))
        get_settings.cache_clear()
        made = {kind: members(model_zip.export(finished(f"a-{kind}", kind))) for kind in KINDS}
    get_settings.cache_clear()
    return made


@pytest.fixture
def check(workspace, tmp_path):
    """Give ``check(zip) -> folder``: the half of the check that needs no Keras, in this process."""

    def check(data: bytes):
        archive, into = tmp_path / "x.zip", tmp_path / "into"
        archive.write_bytes(data)
        shutil.rmtree(into, ignore_errors=True)
        into.mkdir()
        model_check.unpack(archive, into)
        return into

    return check


# What is right


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dual", "siamese"])
def test_an_export_comes_back_and_answers_the_same(exported, workspace, tmp_path, kind):
    archive = tmp_path / "model.zip"
    archive.write_bytes(packed(exported[kind]))
    told = []
    run = model_zip.admit(archive, lambda done, total: told.append((done, total)))
    assert told == [(0, 3), (1, 3), (2, 3), (3, 3)]
    status, card = run.status, run.card()
    assert status["state"] == "done" and run.id.startswith(f"a-{kind}-imported-")
    assert card["origin"]["run"] == f"a-{kind}" and card["origin"]["sha256"] == bundle.sha256(archive)
    assert registry.promote(run.id).id == run.id == registry.current().id
    assert [path.name for path in get_settings().runs_dir.iterdir()] == [run.id]
    there = tmp_path / "there" / "runs" / "same" / "bundle"
    there.mkdir(parents=True)
    for name, data in exported[kind].items():
        if name.startswith("bundle/"):
            (there / name.removeprefix("bundle/")).write_bytes(data)
    x = np.random.default_rng(0).random((2, 32, 32)).astype(np.float32)
    here = inference.predict_local(run.bundle, x)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "is_registered", lambda folder: True)
        for head, proba in inference.predict_local(there, x).heads.items():
            np.testing.assert_allclose(here.heads[head], proba, atol=1e-6)
    with pytest.raises(RunError, match="imported before"):
        model_zip.admit(archive)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_passes_the_check(exported, check, kind):
    into = check(packed(exported[kind]))
    found = {path.relative_to(into).as_posix() for path in into.rglob("*") if path.is_file()}
    assert found == set(model_check._NEEDED) | ({"bundle/jury.npz"} if kind == "siamese" else set())


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("kind", ["dual", "siamese"])
def test_every_layer_that_is_built_here_may_be_imported(kind, backbone):
    config = RunConfig("x", kind, "c", label="plane", backbone=backbone, weights="none", image_size=32)
    model = BUILDERS[kind](config, {head: ["a", "b"] for head in config.heads})
    model_check.check_layers(json.loads(model.to_json()))


def test_what_is_exported_names_nobody(workspace, tmp_path, finished):
    run = finished("pairs", "siamese")
    jury = Jury.load(run.bundle)
    names = tuple(f"P-{n}" for n in range(len(jury.labels)))
    secret = model_zip.replace(jury, patients=names, keys=("1.2.840.99:0",) * len(names),
                               pictures=np.full_like(jury.pictures, 200))  # fmt: skip
    secret.save(run.bundle)
    config = model_zip.replace(run.config, weights="/home/jane/secret.keras")
    (run.folder / "config.json").write_text(config.to_json())
    files = members(model_zip.export(run))
    assert sorted(files) == sorted(
        ["manifest.json", MODEL, CARD, "bundle/jury.npz", "config.json", "scores.json", "CARD.md"]
    )
    for word in (b"/home", b"jane", b"P-0", b"1.2.840"):
        assert not any(word in data for data in files.values())
    with np.load(io.BytesIO(files["bundle/jury.npz"])) as stored:
        assert set(stored["patients"]) == {f"reference patient {n + 1}" for n in range(len(names))}
        assert stored["keys"].tolist() == [""] * len(names) and stored["pictures"].max() < 200
    with np.load(io.BytesIO(members(model_zip.export(run, pictures=True))["bundle/jury.npz"])) as stored:
        assert stored["pictures"].max() == 200


def test_predictions_go_along_when_asked_and_are_left_behind_when_imported(workspace, check, finished):
    run = finished()
    pd.DataFrame({
        "path": ["P/1.dcm"], "frame": [0], "SOPInstanceUID": ["1.1"], "SeriesInstanceUID": ["1"], "PatientID": ["P-1"],
        "split": ["test"], "cohort": ["c"], "head": ["plane"], "y_true": ["axial"], "y_pred": ["axial"],
        "y_proba": [np.array([0.7, 0.2, 0.1])],
    }).to_parquet(run.folder / "predictions.parquet")  # fmt: skip
    files = members(model_zip.export(run, predictions=True))
    assert b"P-1" in files["predictions.csv"] and b".dcm" not in files["predictions.csv"]
    assert not (check(packed(files)) / "predictions.csv").exists()


def test_a_run_that_does_not_verify_is_not_exported(workspace, finished):
    run = finished()
    (run.bundle / "model.keras").write_bytes(b"PK")
    with pytest.raises(BundleError, match="not the file"):
        model_zip.export(run)


# What is wrong with the zip


def refused(check, data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        check(data)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["../../evil.py", "/etc/cron.d/evil", "bundle/../../evil", "C:\\evil", "bundle\\model.keras", "evil.py", "bundle/",
     "BUNDLE/model.keras", "./config.json", "bundle/x.h5", "config.json/x", "__pycache__/core.pyc"],
)  # fmt: skip
def test_other_files_are_refused(exported, check, tmp_path, name):
    refused(check, packed({**exported["transfer"], name: b"x"}), "which no exported model has")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["into", "x.zip"]


def test_a_name_cut_by_a_zero_byte_is_refused(exported, check):
    data = packed({**exported["transfer"], "config.jsonXevil": b"{}"})
    refused(check, data.replace(b"config.jsonXevil", b"config.json\0evil"), "no exported model has|twice")


def raw(entries) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as pack:
        for info, data in entries:
            pack.writestr(info, data)
    return out.getvalue()


def test_links_devices_and_doubles_are_refused(exported, check):
    files = exported["transfer"]
    for mode in (0o120777, 0o020666, 0o010666, 0o040755):
        info = zipfile.ZipInfo("scores.json")
        info.external_attr = mode << 16
        rest = [(name, data) for name, data in files.items() if name != "scores.json"]
        refused(check, raw([*rest, (info, b"/etc/passwd")]), "link or a device")
    with pytest.warns(UserWarning, match="Duplicate"):
        data = raw([*files.items(), ("config.json", b"{}")])
    refused(check, data, "twice")


def test_bombs_are_refused_by_what_they_claim_and_by_what_they_are(exported, check, monkeypatch):
    bomb = packed({**exported["transfer"], "scores.json": b"0" * (20 << 20)})
    assert len(bomb) < 4 << 20
    refused(check, bomb, "20,971,520 bytes; 8,388,608 are the most")
    # The same, but the directory claims little: it is cut off there, and its checksum does not fit.
    lying = bomb.replace(struct.pack("<I", 20 << 20), struct.pack("<I", 100))
    refused(check, lying, "damaged|not the manifest's|not JSON")


def test_encrypted_and_oddly_packed_are_refused(exported, check):
    data = bytearray(packed(exported["transfer"]))
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    refused(check, bytes(data), "encrypted")
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_BZIP2) as pack:
        for name, content in exported["transfer"].items():
            pack.writestr(name, content)
    refused(check, out.getvalue(), "packed in another way")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"hello", b"\x89HDF\r\n", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_zip_is_refused(check, data):
    refused(check, data, "no zip|damaged")


def test_a_cut_or_changed_zip_is_refused(exported, check):
    data = packed(exported["transfer"])
    for end in range(0, len(data), len(data) // 7):
        with pytest.raises(BundleError):
            check(data[:end])
    rng = np.random.default_rng(0)
    for at in rng.integers(0, len(data), 40):
        changed = bytearray(data)
        changed[at] ^= 0x55
        try:
            check(bytes(changed))
        except BundleError:
            continue
        # What is let through may differ in nothing but how it is packed.
        assert members(bytes(changed)) == members(data)


@pytest.mark.parametrize("name", ["manifest.json", CARD, MODEL, "config.json", "scores.json"])
def test_what_lacks_a_file_is_refused(exported, check, name):
    files = {key: data for key, data in exported["transfer"].items() if key != name}
    refused(check, packed(files), f"lacks {name}")


def test_what_was_changed_after_the_export_is_refused(exported, check):
    files = with_card(exported["transfer"], name="better")
    refused(check, packed(files, signed=False), "changed after the export")
    files = {**exported["transfer"], "CARD.md": b"# Approved"}
    refused(check, packed(files, signed=False), "changed after the export")


def test_another_format_or_model_is_refused(exported, check):
    files = exported["transfer"]
    other = {**files, "manifest.json": json.dumps({"format": "slicescope-model", "version": 99}).encode()}
    refused(check, packed(other), "another version")
    swapped = {**files, MODEL: exported["dual"][MODEL]}
    refused(check, packed(swapped), "another SHA-256")
    refused(check, packed({**files, "config.json": exported["dual"]["config.json"]}), "different models")


# What is wrong with the words


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": {"plane": ["axial"]}}, "2 to 100 different words"),
        ({"classes": {"plane": ["axial", "axial"]}}, "2 to 100"),
        ({"classes": {"plane": "axial"}}, "2 to 100"),
        ({"classes": {"plane": ["axial", "<script>alert(1)</script>"]}}, "no plain word"),
        ({"classes": {"plane": ["axial", "x" * 99]}}, "no plain word"),
        ({"classes": {"plane": ["axial", 7]}}, "no plain word"),
        ({"classes": {"plane": ["axial", ["x"]]}}, "no plain word"),
        ({"classes": {"tumour": ["yes", "no"]}}, "no kind of model"),
        ({"classes": ["axial"]}, "no kind of model"),
        ({"kind": "forest"}, "no kind of model"),
        ({"kind": ["dual"]}, "no kind of model"),
        ({"input_shape": [32, 32, 3]}, "input_shape"),
        ({"input_shape": [10**9, 10**9, 1]}, "input_shape"),
        ({"input_shape": [True, True, 1]}, "input_shape"),
        ({"sha256": "x"}, "no hash"),
        ({"split_hash": "../../x"}, "no hash"),
        ({"temperature": {"plane": 0}}, "temperature"),
        ({"temperature": {"plane": "hot"}}, "temperature"),
        ({"temperature": None}, "temperature"),
        ({"unsure_below": {"plane": 2}}, "unsure_below"),
        ({"name": "two\nlines"}, "name of the card"),
        ({"name": None}, "name of the card"),
        ({"limits": {"a": 1}}, "another kind"),
        ({"limits": ["x" * 5000]}, "limits"),
        ({"scores": [[[[[[[[1]]]]]]]]}, "nested too deeply"),
        ({"data": {"vendors": {"a\u202eb": 1}}}, "data"),
        ({"brain": {"weight": ["x"], "bias": 0}}, "plane between brains"),
        ({"brain": {"weight": [1.0]}}, "lacks bias"),
    ],
)
def test_cards_are_checked(exported, check, changes, words):
    refused(check, packed(with_card(exported["transfer"], **changes)), words)


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"{", b"\xff\xfe", b'{"a": NaN}', b'{"a": ' * 100_000, b"[" * 200_000, b'"x"']
)
@pytest.mark.parametrize("name", [CARD, "config.json", "scores.json"])
def test_what_is_no_json_object_is_refused(exported, check, name, text):
    refused(check, packed({**exported["transfer"], name: text}), "JSON")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": "/etc/secret.keras"}, "by a path"),
        ({"epochs": 0}, "epochs must lie"),
        ({"command": "rm"}, "Unknown in the configuration"),
        ({"name": "a\x1b[2J"}, "name of the configuration"),
        ({"label": "sequence"}, "different models"),
    ],
)
def test_configurations_are_checked(exported, check, changes, words):
    config = {**json.loads(exported["transfer"]["config.json"]), **changes}
    refused(check, packed({**exported["transfer"], "config.json": json.dumps(config).encode()}), words)


def test_what_the_card_says_beside_its_fields_is_left_behind(exported, check):
    into = check(packed(with_card(exported["transfer"], onload="evil", not_for_clinical_use="Approved")))
    card = bundle.read_card(into / "bundle")
    assert "onload" not in card and card["not_for_clinical_use"].startswith("Not for clinical use")


# What is wrong with the model


def lambda_layer(config):
    layer = config["config"]["layers"][1]
    layer["class_name"] = "Lambda"
    layer["config"] = {"name": layer["name"], "function": {"class_name": "__lambda__", "config": {"value": "4wEA"}}}


def other_class(module, name, registered=None):
    def change(config):
        config["config"]["layers"][1].update(module=module, class_name=name, registered_name=registered)

    return change


def hidden_lambda(config):
    config["config"]["layers"][-1]["config"]["activation"] = {
        "module": "builtins", "class_name": "function", "config": "eval", "registered_name": "eval",
    }  # fmt: skip


def deep(config):
    config["config"]["layers"][1]["config"]["x"] = {"y": [{"class_name": "__typespec__", "module": "os"}]}


@pytest.mark.parametrize(
    "change",
    [
        lambda_layer, hidden_lambda, deep,
        other_class("keras.layers", "Lambda"), other_class("keras.layers", "TFSMLayer"),
        other_class("keras.layers", "TorchModuleWrapper"), other_class("os", "system"),
        other_class("keras.layers", "Dense", "os>system"),
        other_class("keras.layers", "MCDropout", "slicescope>MCDropout"),
        other_class("core.models.mc_dropout", "MCDropout", "evil>MCDropout"),
        other_class("keras.src.utils.file_utils", "get_file"), other_class(None, "Dense"), other_class(["x"], ["y"]),
    ],
)  # fmt: skip
def test_models_that_ask_for_anything_but_plain_layers_are_refused(exported, check, change):
    refused(check, packed(with_config(exported["transfer"], change)), "none of the layers")


def test_models_that_are_no_functional_model_are_refused(exported, check):
    refused(check, packed(with_config(exported["transfer"], lambda c: c.update(class_name="Sequential"))), "functional")
    refused(check, packed(with_part(exported["transfer"], "config.json", lambda text: b"[]")), "functional")
    refused(check, packed(with_part(exported["transfer"], "config.json", lambda text: b"[" * 200_000)), "not JSON")


def test_a_keras_file_with_more_than_its_parts_is_refused(exported, check):
    parts = members(exported["transfer"][MODEL])
    more = with_model(exported["transfer"], packed({**parts, "assets/evil.py": b"x"}, signed=False))
    refused(check, packed(more), "holds 'assets/evil.py'")
    less = {name: data for name, data in parts.items() if name != "metadata.json"}
    refused(check, packed(with_model(exported["transfer"], packed(less, signed=False))), "no .keras file")
    refused(check, packed(with_model(exported["transfer"], b"\x89HDF\r\n\x1a\n" + bytes(100))), "damaged")


def external_link(file):
    file["evil"] = h5py.ExternalLink("/etc/hostname", "/")


def soft_link(file):
    file["evil"] = h5py.SoftLink("/layers")


def external_data(file):
    file.create_dataset("evil", (4,), "u1", external=[("/etc/hostname", 0, 4)])


def virtual(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (4,))
    file.create_virtual_dataset("evil", layout)


def texts(file):
    file["evil"] = ["text"]


def references(file):
    file["evil"] = np.array([file.ref], h5py.ref_dtype)


def cycle(file):
    file["evil"] = file["/"]


def swelling(file):
    file.create_dataset("evil", (10**9, 100), "f4", chunks=(1024, 100), fillvalue=1.0)


@pytest.mark.parametrize(
    "change", [external_link, soft_link, external_data, virtual, texts, references, cycle, swelling]
)
def test_weights_that_point_elsewhere_or_swell_are_refused(exported, check, tmp_path, change):
    refused(check, packed(with_weights(exported["transfer"], change, tmp_path)), "The weights of the model")


def npz(**arrays) -> bytes:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def stored_jury(files) -> dict:
    with np.load(io.BytesIO(files["bundle/jury.npz"])) as stored:
        return dict(stored)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"classes": np.array(["x", "y", "z"])}, "not of the card's classes"),
        ({"labels": np.array(["axial"])}, "not of the card's classes"),
        ({"labels": np.array([{}], dtype=object)}, "cannot be read"),
        ({"embeddings": np.zeros((3, 64))}, "something else"),
        ({"embeddings": np.full((3, 64), np.nan, np.float32)}, "something else"),
        ({"pictures": np.zeros((3, 8, 8), np.float32)}, "something else"),
        ({"keys": np.array(["x" * 200] * 3)}, "list of references"),
        ({"evil": np.zeros(1)}, "no exported model has"),
    ],
)
def test_juries_are_checked(exported, check, changes, words):
    jury = {**stored_jury(exported["siamese"]), **changes}
    refused(check, packed({**exported["siamese"], "bundle/jury.npz": npz(**jury)}), words)


def test_a_jury_belongs_to_a_siamese_model_alone(exported, check):
    jury = exported["siamese"]["bundle/jury.npz"]
    refused(check, packed({**exported["transfer"], "bundle/jury.npz": jury}), "no other")
    files = {name: data for name, data in exported["siamese"].items() if name != "bundle/jury.npz"}
    refused(check, packed(files), "no other")


# What only loading shows


def loaded(check, data: bytes):
    """Both halves, in this process and with a folder that counts as a run's."""
    into = check(data)
    place = get_settings().runs_dir / ".import-test"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(into, place)
    model_check.load(place)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_loads(exported, check, kind):
    loaded(check, packed(exported[kind]))


def logits(config):
    config["config"]["layers"][-1]["config"]["activation"] = "linear"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda f: with_card(f, classes={"plane": ["axial", "coronal"]}), "probability for each class"),
        (lambda f: with_card(f, input_shape=[64, 64, 1]), "takes other slices"),
        (lambda f: with_card(f, cam_layer="nothing"), "layer for heatmaps"),
        (lambda f: with_card(f, brain={"weight": [1.0], "bias": 0.0}), "does not fit"),
        (lambda f: with_config(f, logits), "probability for each class"),
        (lambda f: with_part(f, "model.weights.h5", lambda data: data[: len(data) // 2]), "damaged"),
    ],
)
def test_models_that_are_not_what_their_card_says_are_refused(exported, check, change, words):
    with pytest.raises(BundleError, match=words):
        loaded(check, packed(change(exported["transfer"])))


def narrower(file):
    kernel = file["layers/dense/vars"]["0"]
    part = kernel[:, :2]
    del file["layers/dense/vars"]["0"]
    file["layers/dense/vars"]["0"] = part


def nameless(file):
    del file["layers/dense/vars"]["1"]


@pytest.mark.parametrize("change", [narrower, nameless])
def test_weights_that_do_not_fit_are_refused(exported, check, tmp_path, change):
    with pytest.raises(BundleError, match="could not be loaded"):
        loaded(check, packed(with_weights(exported["transfer"], change, tmp_path)))


# In the child


def greedy(config):
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "Conv2D":
            layer["config"]["filters"] = 2**22
            layer["config"]["kernel_size"] = [99, 99]


@pytest.mark.slow
def test_a_refusal_in_the_child_leaves_nothing_behind(exported, workspace, tmp_path):
    archive = tmp_path / "x.zip"
    archive.write_bytes(packed({**exported["transfer"], "evil.py": b"x"}))
    with pytest.raises(BundleError, match=r"evil\.py"):
        model_zip.admit(archive)
    archive.write_bytes(packed(with_config(exported["transfer"], greedy)))
    with pytest.raises(BundleError, match=r"could not be loaded|memory"):
        model_zip.admit(archive)
    assert list(get_settings().runs_dir.iterdir()) == [] and runs.list_runs() == []


def test_a_check_that_takes_too_long_is_a_refusal(exported, workspace, tmp_path, monkeypatch):
    monkeypatch.setenv("SLICESCOPE_IMPORT_TIMEOUT_S", "0.05")
    get_settings.cache_clear()
    archive = tmp_path / "x.zip"
    archive.write_bytes(packed(exported["transfer"]))
    with pytest.raises(BundleError, match=r"longer than 0\.05 seconds"):
        model_zip.admit(archive)
    assert list(get_settings().runs_dir.iterdir()) == []


def test_no_file_and_a_large_file(workspace, tmp_path, monkeypatch):
    with pytest.raises(CoreError, match="no such file"):
        model_zip.admit(tmp_path / "nothing.zip")
    monkeypatch.setenv("SLICESCOPE_MAX_UPLOAD_MB", "1")
    get_settings.cache_clear()
    (tmp_path / "big.zip").write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(BundleError, match="larger than 1 MB"):
        model_zip.admit(tmp_path / "big.zip")


def test_keras_refuses_a_lambda_by_itself(tmp_path):
    """The second wall: should a Lambda pass the list of layers, safe mode does not load it."""
    image = keras.Input((2,))
    keras.Model(image, keras.layers.Lambda(lambda x: x)(image)).save(tmp_path / "x.keras")
    with pytest.raises(ValueError, match=r"unsafe|[Ll]ambda"):
        keras.saving.load_model(tmp_path / "x.keras", compile=False, safe_mode=True)
