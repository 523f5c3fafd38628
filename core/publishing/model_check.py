"""Is this file an exported model and nothing else? Asked in a child process, see `core.publishing.model_zip`.

A model that somebody brings is hostile until shown otherwise: a zip may unpack to anything anywhere, a ``.keras`` file
may name code to be run, and its weights may point at other files. So names, sizes, hashes, words, layers and arrays are
checked before Keras sees anything, then it is loaded in safe mode and asked once, with little memory and little time.
"""

import json
import math
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from core import bundle
from core.child import serve
from core.errors import BundleError, CoreError
from core.explanations.jury import JURY_FILE, Jury
from core.publishing import card_check
from core.publishing.model_zip import FORMAT, MANIFEST, PREDICTIONS, README, VERSION
from core.settings import get_settings

MODEL, CARD, JURY = f"bundle/{bundle.MODEL_FILE}", f"bundle/{bundle.CARD_FILE}", f"bundle/{JURY_FILE}"
_MB = 1 << 20
#: Name of each file that there may be, and its largest size in MB; a model may take what is left of an upload.
_LARGEST = {
    MANIFEST: 1,
    CARD: 2,
    "config.json": 1,
    "scores.json": 8,
    README: 2,
    JURY: 64,
    PREDICTIONS: 1024,
    MODEL: 2048,
}
_NEEDED = (MANIFEST, CARD, MODEL, "config.json", "scores.json")
#: What a .keras file holds.
_PARTS = {"metadata.json": 1, "config.json": 16, "model.weights.h5": 2048}

_PLAIN_LAYERS = (
    "Activation", "Add", "Average", "AveragePooling2D", "BatchNormalization", "Concatenate", "Conv2D", "Cropping2D",
    "Dense", "DepthwiseConv2D", "Dot", "Dropout", "ELU", "Flatten", "GlobalAveragePooling2D", "GlobalMaxPooling2D",
    "GroupNormalization", "Identity", "InputLayer", "LayerNormalization", "LeakyReLU", "MaxPooling2D", "Maximum",
    "Minimum", "Multiply", "Normalization", "PReLU", "Permute", "ReLU", "Rescaling", "Reshape", "SeparableConv2D",
    "Softmax", "SpatialDropout2D", "Subtract", "UnitNormalization", "UpSampling2D", "ZeroPadding2D",
)  # fmt: skip
_PLAIN_INITIALISERS = (
    "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform", "Ones",
    "Orthogonal", "RandomNormal", "RandomUniform", "TruncatedNormal", "VarianceScaling", "Zeros",
)  # fmt: skip
#: Everything that a model's configuration may ask Keras to make, as (module, class).
ALLOWED = {
    (None, "__keras_tensor__"), (None, "__tuple__"), ("keras", "DTypePolicy"), ("keras.regularizers", "L2"),
    ("keras.models", "Functional"), ("keras.src.models.functional", "Functional"),
    ("core.models.mc_dropout", "MCDropout"),
    *(("keras.layers", name) for name in _PLAIN_LAYERS),
    *(("keras.initializers", name) for name in _PLAIN_INITIALISERS),
}  # fmt: skip
_OURS = "slicescope>MCDropout"


def unpack(archive: Path, into: Path) -> None:
    """Unpack an exported model into an empty folder, each file checked as far as it can be without Keras.

    Raises
    ------
    BundleError
        When it is anything else.
    """
    try:
        with archive.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":
                raise BundleError("The file is no zip that Slicescope exported. Export a run, and import that file.")
        with zipfile.ZipFile(archive) as pack:
            _copy_members(pack, _members(pack, _LARGEST, "The file"), into)
        _check_manifest(into)
        config, card = (
            card_check.checked_config(into),
            card_check.checked_card(card_check.read_json(into / CARD, "card.json")),
        )
        if config.kind != card["kind"] or set(config.heads) != set(card["classes"]):
            raise BundleError("The configuration and the card of the file tell of different models.")
        scores = card_check.plain_data(card_check.read_json(into / "scores.json", "scores.json"), "scores.json")
        _check_keras_file(into / MODEL, into / "weights.h5")
        if bundle.sha256(into / MODEL) != card["sha256"]:
            raise BundleError("The model in the file is not the one that its card describes (another SHA-256).")
        _check_jury(into, card)
    except (CoreError, MemoryError):
        raise
    except Exception as error:
        # Each of the readers has its own ways to say that a file is damaged.
        raise BundleError(f"The file is damaged or no exported model ({type(error).__name__}).") from None
    for name in (README, PREDICTIONS, "weights.h5"):
        (into / name).unlink(missing_ok=True)
    (into / CARD).write_text(json.dumps(card, indent=2), "utf-8")
    (into / "config.json").write_text(config.to_json(), "utf-8")
    (into / "scores.json").write_text(json.dumps(scores, indent=2), "utf-8")


def load(folder: Path) -> None:
    """Load an unpacked model as all others are, and ask it about a blank slice and one of noise.

    Raises
    ------
    BundleError
        When it cannot be loaded or does not answer what its card says.
    """
    from core import inference
    from core.models.parts import FEATURES, cam_layer, encoder_of

    place = folder / "bundle"
    card = bundle.read_card(place)
    try:
        model = bundle.load(place)
        flat = encoder_of(model)
        size = card["input_shape"][0]
        if list(flat.input_shape[1:]) != card["input_shape"] or card["features_layer"] != FEATURES:
            raise BundleError("The model takes other slices than its card says.")
        if cam_layer(model) != card["cam_layer"] or len(flat.get_layer(card["cam_layer"]).output.shape) != 4:
            raise BundleError("The model has no such layer for heatmaps as its card says.")
        slices = np.stack([np.zeros((size, size)), np.random.default_rng(0).random((size, size))])
        # Uncalibrated, because a temperature would make shares of any numbers.
        answer = inference.predict_local(place, slices, calibrated=False)
    except (BundleError, MemoryError):
        raise
    except Exception as error:
        # Whatever a model breaks with, breaking is what it did.
        raise BundleError(f"The model could not be loaded and asked ({type(error).__name__}).") from None
    for head, names in card["classes"].items():
        proba = answer.heads[head]
        if proba.shape != (2, len(names)) or not np.allclose(proba.sum(axis=1), 1, atol=1e-3):
            raise BundleError(f"The model does not answer with a probability for each class of {head}.")
    if "brain" in card and len(card["brain"]["weight"]) != answer.embeddings.shape[1]:
        raise BundleError("The card's plane between brains and other things does not fit the model.")


# Zip files ----------------------------------------------------------------------------------------------------------


def _members(pack: zipfile.ZipFile, largest: dict[str, int], what: str) -> Iterator[tuple[zipfile.ZipInfo, int]]:
    """Give each member with its largest size in bytes; refuses what should not be there before anything is read."""
    seen = set()
    for info in pack.infolist():
        shown = info.filename[:80]
        if info.filename not in largest or info.orig_filename != info.filename:
            raise BundleError(f"{what} holds {shown!r}, which no exported model has.")
        if info.filename in seen:
            raise BundleError(f"{what} holds {shown!r} twice.")
        seen.add(info.filename)
        kind = (info.external_attr >> 16) & 0o170000
        if kind not in (0, 0o100000):
            raise BundleError(f"{what} holds {shown!r} as a link or a device, not as a file.")
        if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BundleError(f"{what} holds {shown!r} encrypted, or packed in another way than exports are.")
        limit = min(largest[info.filename], get_settings().max_upload_mb) * _MB
        if info.file_size > limit:
            raise BundleError(f"{what} holds {shown!r} with {info.file_size:,} bytes; {limit:,} are the most.")
        yield info, limit


def _copy_members(pack: zipfile.ZipFile, members: Iterator[tuple[zipfile.ZipInfo, int]], into: Path) -> None:
    for info, limit in list(members):
        target = into / info.filename
        target.parent.mkdir(exist_ok=True)
        with pack.open(info) as source, target.open("xb") as sink:
            _copy(source, sink, limit, info.filename)


def _copy(source: BinaryIO, sink: BinaryIO, limit: int, name: str) -> None:
    """Copy, counting what really comes out, whatever the zip claims."""
    left = limit
    while block := source.read(_MB):
        left -= len(block)
        if left < 0:
            raise BundleError(f"{name!r} unpacks to more than {limit:,} bytes.")
        sink.write(block)


def _check_manifest(folder: Path) -> None:
    absent = [name for name in _NEEDED if not (folder / name).is_file()]
    if absent:
        raise BundleError(f"The file lacks {absent[0]}: it is no model that Slicescope exported.")
    manifest = card_check.read_json(folder / MANIFEST, MANIFEST)
    if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
        raise BundleError(f"The file is not in the format {FORMAT} {VERSION}; another version of Slicescope wrote it.")
    sums = manifest.get("sha256")
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    found.pop(MANIFEST)
    if not isinstance(sums, dict) or set(sums) != set(found):
        raise BundleError("The file's manifest lists other files than there are.")
    for name, path in found.items():
        if bundle.sha256(path) != sums[name]:
            raise BundleError(f"{name} was changed after the export (its SHA-256 is not the manifest's).")
    for name in ("run", "exported"):
        card_check.line_of_text(manifest.get(name), f"{name} of the manifest", 100)


# The model file -----------------------------------------------------------------------------------------------------


def _check_keras_file(path: Path, weights: Path) -> None:
    """Check what a .keras file would make Keras do."""
    with zipfile.ZipFile(path) as pack:
        members = {info.filename: (info, limit) for info, limit in _members(pack, _PARTS, "The model")}
        if set(members) != set(_PARTS):
            raise BundleError("The model is no .keras file with configuration and weights.")
        config = _read_json(pack, *members["config.json"])
        info, limit = members["model.weights.h5"]
        with pack.open(info) as source, weights.open("xb") as sink:
            _copy(source, sink, limit, "model.weights.h5")
    check_layers(config)
    _check_weights(weights)


def _read_json(pack: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> Any:
    with pack.open(info) as source:
        data = source.read(limit + 1)
    if len(data) > limit:
        raise BundleError(f"{info.filename!r} of the model unpacks to more than {limit:,} bytes.")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise BundleError("The configuration of the model is not JSON.") from None


def check_layers(config: Any) -> None:
    """Refuse a Keras configuration that asks for anything but plain layers and our own.

    Raises
    ------
    BundleError
        Naming the first thing that is not allowed.
    """
    if not isinstance(config, dict) or config.get("class_name") != "Functional":
        raise BundleError("The model is no functional Keras model.")
    waiting = [config]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            if "class_name" in one:
                _check_class(one)
            waiting += one.values()


def _check_class(one: dict[str, Any]) -> None:
    module, name, registered = one.get("module"), one["class_name"], one.get("registered_name")
    known = isinstance(module, str | None) and isinstance(name, str) and (module, name) in ALLOWED
    ours = registered == _OURS and name == "MCDropout"
    if not known or not (ours or (registered in (None, name) and name != "MCDropout")):
        raise BundleError(
            f"The model asks for {str(name)[:60]!r} of {str(module)[:60]!r}, which is none of the layers that an "
            "imported model may have."
        )


def _check_weights(path: Path) -> None:
    """Walk through the HDF5 file: groups and numbers only, nothing that lies elsewhere, nothing that swells."""
    import h5py

    size, numbers, nodes = path.stat().st_size, 0, 0
    with h5py.File(path, "r") as file:
        waiting = [file]
        while waiting:
            group = waiting.pop()
            for name in group:
                nodes += 1
                if nodes > 20_000 or not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise BundleError("The weights of the model point at another file, or hold too many parts.")
                one = group[name]
                if isinstance(one, h5py.Group):
                    waiting.append(one)
                    continue
                if not isinstance(one, h5py.Dataset) or one.external or one.is_virtual or one.dtype.kind not in "fiub":
                    raise BundleError("The weights of the model hold something else than numbers of their own.")
                numbers += one.size
                # Keras writes them as they are, so that each takes a byte at least.
                if numbers > size:
                    raise BundleError("The weights of the model swell to more numbers than the file has bytes.")


def _check_jury(folder: Path, card: dict[str, Any]) -> None:
    path = folder / JURY
    if path.exists() != (card["kind"] == "siamese"):
        raise BundleError("A jury belongs to a Siamese model, and to no other.")
    if not path.exists():
        return
    names = ("classes", "labels", "patients", "keys", "embeddings", "pictures")
    with zipfile.ZipFile(path) as pack:
        list(_members(pack, {f"{name}.npy": 64 for name in names}, "The jury"))
    try:
        jury = Jury.load(folder / "bundle")
    except (KeyError, ValueError, OSError):
        raise BundleError("The jury of the file cannot be read.") from None
    m = len(jury.labels)
    ((_, classes),) = card["classes"].items()
    whole = all(len(part) == m for part in (jury.patients, jury.keys, jury.embeddings, jury.pictures))
    if list(jury.classes) != classes or set(jury.labels) - set(classes) or not 1 <= m <= 100_000 or not whole:
        raise BundleError("The jury of the file is not of the card's classes.")
    shapes = jury.embeddings.ndim == 2 and jury.pictures.ndim == 3 and jury.pictures.dtype == np.uint8
    if not shapes or jury.embeddings.dtype != np.float32 or not np.isfinite(jury.embeddings).all():
        raise BundleError("The jury of the file holds something else than embeddings and pictures.")
    for word in (*jury.patients, *jury.keys):
        card_check.line_of_text(word, "jury's list of references", 100)


# The child ----------------------------------------------------------------------------------------------------------


def _late() -> None:
    # Should nobody be left to end this process, the system does it.
    signal.alarm(math.ceil(get_settings().import_timeout_s) + 2)


def _answer_unpack(header: dict, arrays: dict) -> tuple[dict, dict]:
    _late()
    unpack(Path(header["archive"]), Path(header["into"]))
    return {}, {}


def _answer_load(header: dict, arrays: dict) -> tuple[dict, dict]:
    _late()
    load(Path(header["folder"]))
    return {}, {}


if __name__ == "__main__":
    serve({"unpack": _answer_unpack, "load": _answer_load})
