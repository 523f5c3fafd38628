"""Event files: what other readers make of them, and what a killed writer leaves."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.publishing import tensorboard


def read(folder):
    """Read all scalars as TensorFlow does, which checks every checksum: {tag: [(step, value), ...]}."""
    from tensorflow.python.summary.summary_iterator import summary_iterator

    found, versions = {}, []
    for path in sorted(folder.iterdir()):
        for event in summary_iterator(str(path)):
            if event.file_version:
                versions.append(event.file_version)
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found, versions


def test_tensorflow_reads_what_was_written(tmp_path):
    scalars = tensorboard.Scalars(tmp_path / "head")
    for step in (1, 2, 300):
        scalars.add(step, {"loss": 1 / step, "val_accuracy": 0.5, "größe": step})
    found, versions = read(tmp_path / "head")
    assert versions == ["brain.Event:2"]
    assert [step for step, _ in found["loss"]] == [1, 2, 300]
    assert [value for _, value in found["loss"]] == pytest.approx([1, 0.5, 1 / 300])
    assert set(found) == {"loss", "val_accuracy", "größe"}


def test_the_pure_reader_of_tensorboard_finds_the_curves_if_it_is_installed(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    tensorboard.Scalars(tmp_path).add(3, {"loss": 0.25})
    events = accumulator.EventAccumulator(str(tmp_path)).Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == [(3, 0.25)]


def test_numbers_that_are_none_are_left_out_and_nothing_makes_no_file(tmp_path):
    scalars = tensorboard.Scalars(tmp_path / "x")
    scalars.add(1, {"loss": float("nan"), "other": float("inf")})
    assert not (tmp_path / "x").exists()
    scalars.add(2, {"loss": float("nan"), "accuracy": 0.5})
    assert read(tmp_path / "x")[0] == {"accuracy": [(2, 0.5)]}


def test_a_second_writer_goes_on_where_a_killed_one_was(tmp_path):
    tensorboard.Scalars(tmp_path).add(1, {"loss": 2.0})
    tensorboard.Scalars(tmp_path).add(2, {"loss": 1.0})
    assert len(list(tmp_path.iterdir())) == 2
    assert sorted(read(tmp_path)[0]["loss"]) == [(1, 2.0), (2, 1.0)]


def test_a_damaged_record_is_noticed(tmp_path):
    from tensorflow.python.framework.errors_impl import DataLossError

    tensorboard.Scalars(tmp_path).add(1, {"loss": 2.0})
    (path,) = tmp_path.iterdir()
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataLossError):
        read(tmp_path)


def test_keras_writes_through_the_callback(tmp_path):
    import keras
    import numpy as np

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((4, 1)), np.ones((4, 1)), epochs=3, verbose=0, callbacks=[tensorboard.callback(tmp_path)])
    found, _ = read(tmp_path)
    assert [step for step, _ in found["loss"]] == [1, 2, 3]


@settings(max_examples=30, deadline=None)
@given(st.binary(max_size=300))
def test_the_frame_holds_the_message(message):
    framed = tensorboard.record(message)
    assert struct.unpack("<Q", framed[:8]) == (len(message),)
    assert framed[12:-4] == message and len(framed) == len(message) + 16
