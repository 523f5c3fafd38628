"""Which devices there are to train on, and how busy they are: NVML where there is a GPU, psutil for the rest.

Light: neither TensorFlow nor CUDA is loaded. Without the package nvidia-ml-py a GPU is still found and used, only its
load is not shown.
"""

import os
import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil

from core.errors import ConfigError

#: Thirty pages that look at once see one measurement.
_EVERY_S = 1.0


@dataclass(frozen=True)
class GpuLoad:
    """Load of one GPU.

    Attributes
    ----------
    device : str
        For example ``gpu:0``.
    busy : float
        Share of the last moment in which something was computed, 0 to 1.
    memory_used, memory_total : int
        Bytes.
    """

    device: str
    busy: float
    memory_used: int
    memory_total: int


@dataclass(frozen=True)
class Load:
    """Load of this machine.

    Attributes
    ----------
    cpu : float or None
        Share of all cores that was busy since the look before, 0 to 1; None at the first look.
    memory_used, memory_total : int
        Bytes of the machine's memory.
    gpus : tuple of GpuLoad
        Those that NVML tells of.
    """

    cpu: float | None
    memory_used: int
    memory_total: int
    gpus: tuple[GpuLoad, ...] = ()

    def words(self, devices: tuple[str, ...] = ()) -> str:
        """Say it in one line; of GPUs only those among `devices`.

        Examples
        --------
        >>> Load(0.5, 2 << 30, 8 << 30, (GpuLoad("gpu:0", 0.9, 1 << 30, 4 << 30),)).words(("gpu:0",))
        'CPU 50 % · memory 2.0 of 8.0 GB · gpu:0 90 %, 1.0 of 4.0 GB'
        """
        parts = [] if self.cpu is None else [f"CPU {100 * self.cpu:.0f} %"]
        parts.append(f"memory {_of(self.memory_used, self.memory_total)}")
        parts += [
            f"{gpu.device} {100 * gpu.busy:.0f} %, {_of(gpu.memory_used, gpu.memory_total)}"
            for gpu in self.gpus
            if gpu.device in devices
        ]
        return " · ".join(parts)


def _of(used: int, total: int) -> str:
    return f"{used / 2**30:.1f} of {total / 2**30:.1f} GB"


def devices(setting: str = "auto") -> tuple[str, ...]:
    """Name the devices that trainings are given to, one at a time each.

    Parameters
    ----------
    setting : str
        As SLICESCOPE_DEVICE has it: ``auto`` (every GPU that is there, else the CPU), ``cpu``, ``gpu:N``, or several
        with commas between.

    Returns
    -------
    tuple of str
        ``cpu`` or ``gpu:N``, each once; at least one.

    Raises
    ------
    ConfigError
        For another word.

    Examples
    --------
    >>> devices("cpu"), devices("gpu:1, gpu:0")
    (('cpu',), ('gpu:1', 'gpu:0'))
    """
    if setting == "auto":
        return tuple(f"gpu:{number}" for number in range(len(gpu_ids()))) or ("cpu",)
    named = tuple(dict.fromkeys(word.strip() for word in setting.split(",")))
    for word in named:
        if word != "cpu" and not (word.startswith("gpu:") and word[4:].isdecimal()):
            raise ConfigError(
                f"device must be auto, cpu, gpu:N, or several of these with commas. Received: {setting!r}. "
                "Set SLICESCOPE_DEVICE."
            )
    return named


def environment(chosen: tuple[str, ...], setting: str) -> dict[str, str]:
    """Return the environment variables that let a training see the chosen devices only.

    Examples
    --------
    >>> environment(("gpu:1",), "gpu:0,gpu:1"), environment(("cpu",), "auto")
    ({'SLICESCOPE_DEVICE': 'gpu:1'}, {})
    """
    if len(chosen) == 1 and setting != "auto":
        return {"SLICESCOPE_DEVICE": chosen[0]}
    numbers = [int(device[4:]) for device in chosen if device != "cpu"]
    if not numbers:
        return {}
    ids = gpu_ids()
    seen = [ids[number] if number < len(ids) else str(number) for number in numbers]
    # CUDA's own order is by speed, NVML's by place.
    return {
        "SLICESCOPE_DEVICE": "auto", "CUDA_VISIBLE_DEVICES": ",".join(seen), "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }  # fmt: skip


@lru_cache
def gpu_ids() -> tuple[str, ...]:
    """Return what CUDA calls each NVIDIA GPU that this process may use; ``gpu:N`` is the N-th of them."""
    n = _count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None or n == 0:
        return tuple(map(str, range(n)))
    return tuple(word.strip() for word in named.split(",") if word.strip() not in ("", "-1", "NoDevFiles"))


def _count() -> int:
    nvml = _nvml()
    return nvml.nvmlDeviceGetCount() if nvml else len(list(Path("/dev").glob("nvidia[0-9]*")))


@lru_cache
def _nvml():
    """Return NVML, ready to be asked; None without the package, the driver or a GPU."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


class _Meter:
    """Measures at most once a moment, for whoever asks from whatever thread."""

    def __init__(self):
        self._lock, self._at, self._load, self._times = threading.Lock(), -_EVERY_S, None, None

    def read(self) -> Load:
        with self._lock:
            if self._load is None or time.monotonic() - self._at >= _EVERY_S:
                memory = psutil.virtual_memory()
                self._load = Load(self._cpu(), memory.total - memory.available, memory.total, _gpu_loads())
                self._at = time.monotonic()
            return self._load

    def _cpu(self) -> float | None:
        # psutil's own percentage is kept by thread, and every rerun of a page has a new one.
        before, self._times = self._times, psutil.cpu_times()
        if before is None:
            return None
        idle = self._times.idle - before.idle + getattr(self._times, "iowait", 0) - getattr(before, "iowait", 0)
        counted = [name for name in before._fields if not name.startswith("guest")]
        whole = sum(getattr(self._times, name) - getattr(before, name) for name in counted)
        return min(1.0, max(0.0, 1 - idle / whole)) if whole > 0 else None


_meter = _Meter()


def read_load() -> Load:
    """Measure how busy this machine is; within a second everybody gets the same answer."""
    return _meter.read()


def _gpu_loads() -> tuple[GpuLoad, ...]:
    nvml = _nvml()
    if nvml is None:
        return ()
    loads = []
    for number, name in enumerate(gpu_ids()):
        # One GPU that has fallen off the bus must not hide the others.
        try:
            by_index = name.isdecimal()
            handle = nvml.nvmlDeviceGetHandleByIndex(int(name)) if by_index else nvml.nvmlDeviceGetHandleByUUID(name)
            memory = nvml.nvmlDeviceGetMemoryInfo(handle)
            busy = nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100
        except nvml.NVMLError:
            continue
        loads.append(GpuLoad(f"gpu:{number}", busy, int(memory.used), int(memory.total)))
    return tuple(loads)
