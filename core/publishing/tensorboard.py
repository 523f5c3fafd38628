"""TensorBoard's event files, written without TensorFlow, so that JAX and PyTorch runs have their curves too.

Looking at them needs the ``tensorboard`` package (``tensorboard --logdir RUN/tensorboard``); writing needs nothing. The
package's own writer would bring gRPC, a web server and Markdown for what fits on this page: a record is a length, a
protocol-buffer message and their checksums (tensorflow/core/lib/io/record_writer.h, tensorflow/core/util/event.proto).
"""

import math
import os
import secrets
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import keras


class Scalars:
    """One event file of scalars, begun with the first of them; written through, so that a killed run keeps its curve.

    Parameters
    ----------
    folder : Path
        What TensorBoard calls a run; made if missing. Files of earlier writers stay and belong to the same curves.
    """

    def __init__(self, folder: Path):
        self.folder, self._path = Path(folder), None

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers of one step.

        Parameters
        ----------
        step : int
            At least 0.
        values : mapping of str to float
            By tag; what is no number is left out, because TensorBoard's smoothing would swallow the curve.
        """
        known = {tag: float(value) for tag, value in values.items() if math.isfinite(value)}
        if not known:
            return
        now = time.time()
        if self._path is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            # TensorBoard reads a folder in the order of names; the machine's, usual in them, is nobody's affair.
            name = f"events.out.tfevents.{int(now):010d}.slicescope.{os.getpid()}.{secrets.token_hex(2)}"
            self._path = self.folder / name
            self._append(_event(now, version=True))
        self._append(_event(now, step, known))

    def _append(self, message: bytes) -> None:
        with self._path.open("ab") as file:
            file.write(record(message))


def callback(folder: Path) -> "keras.callbacks.Callback":
    """Return a callback that writes what Keras logs at the end of each epoch; on any backend."""
    import keras

    scalars = Scalars(folder)
    return keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: scalars.add(epoch + 1, logs or {}))


def record(message: bytes) -> bytes:
    """Frame a message as TFRecord does: length, its checksum, the message, its checksum; little-endian."""
    length = struct.pack("<Q", len(message))
    return length + struct.pack("<I", _masked(length)) + message + struct.pack("<I", _masked(message))


def crc32c(data: bytes) -> int:
    """Compute the Castagnoli checksum of RFC 3720, appendix B.4.

    Examples
    --------
    >>> hex(crc32c(b"123456789")), hex(crc32c(bytes(32)))
    ('0xe3069283', '0x8a9136aa')
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _table() -> tuple[int, ...]:
    rows = []
    for crc in range(256):
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        rows.append(crc)
    return tuple(rows)


_TABLE = _table()


def _masked(data: bytes) -> int:
    # Rotated and shifted, because a checksum over data that holds its own checksum is weak.
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _event(wall_time: float, step: int = 0, values: Mapping[str, float] | None = None, version: bool = False) -> bytes:
    """Encode an Event: wall_time = 1, step = 2, file_version = 3, summary = 5 of values = 1 (tag = 1, float = 2)."""
    message = b"\x09" + struct.pack("<d", wall_time) + b"\x10" + _varint(step)
    if version:
        message += _bytes(3, b"brain.Event:2")
    parts = [
        _bytes(1, _bytes(1, tag.encode()) + b"\x15" + struct.pack("<f", value)) for tag, value in (values or {}).items()
    ]
    return message + (_bytes(5, b"".join(parts)) if parts else b"")


def _bytes(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
