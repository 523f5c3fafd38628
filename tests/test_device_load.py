"""Devices are found and their load is told, with an NVML that is not there."""

import sys
import types

import psutil
import pytest

from core.queueing import device_load


class NvmlError(Exception):
    """As pynvml.NVMLError."""


def fake_nvml(n=2, broken=(), refuses=False):
    def init():
        if refuses:
            raise NvmlError("driver not loaded")

    def handle(index):
        if index in broken:
            raise NvmlError("GPU is lost")
        return index

    return types.SimpleNamespace(
        NVMLError=NvmlError, nvmlInit=init, nvmlDeviceGetCount=lambda: n, nvmlDeviceGetHandleByIndex=handle,
        nvmlDeviceGetHandleByUUID=lambda uuid: int(uuid[-1]),
        nvmlDeviceGetMemoryInfo=lambda at: types.SimpleNamespace(used=(at + 1) << 30, total=8 << 30),
        nvmlDeviceGetUtilizationRates=lambda at: types.SimpleNamespace(gpu=10 * at + 5),
    )  # fmt: skip


@pytest.fixture
def nvml(monkeypatch):
    """Give ``install(module)``; None stands for a package that is not installed."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def forget():
        device_load._nvml.cache_clear()
        device_load.gpu_ids.cache_clear()

    def install(module):
        monkeypatch.setitem(sys.modules, "pynvml", module)
        forget()

    yield install
    forget()


def test_every_gpu_is_a_device_and_its_load_is_told(nvml):
    nvml(fake_nvml())
    assert device_load.devices("auto") == ("gpu:0", "gpu:1")
    load = device_load._Meter().read()
    assert load.gpus == (
        device_load.GpuLoad("gpu:0", 0.05, 1 << 30, 8 << 30), device_load.GpuLoad("gpu:1", 0.15, 2 << 30, 8 << 30)
    )  # fmt: skip
    assert load.words(("gpu:1",)).endswith("gpu:1 15 %, 2.0 of 8.0 GB")
    assert "gpu:0" not in load.words(("gpu:1",))


def test_a_lost_gpu_hides_no_other(nvml):
    nvml(fake_nvml(broken=(0,)))
    assert [gpu.device for gpu in device_load._Meter().read().gpus] == ["gpu:1"]


@pytest.mark.parametrize("module", [None, fake_nvml(refuses=True), fake_nvml(n=0)])
def test_without_a_gpu_it_is_the_cpu(nvml, module, monkeypatch):
    nvml(module)
    monkeypatch.setattr(device_load.Path, "glob", lambda self, pattern: iter(()))
    assert device_load.devices("auto") == ("cpu",)
    assert device_load._Meter().read().gpus == ()
    assert device_load.environment(("cpu",), "auto") == {}


def test_gpus_that_others_keep_are_not_counted(nvml, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-1")
    nvml(fake_nvml(n=4))
    assert device_load.devices("auto") == ("gpu:0", "gpu:1")
    assert device_load.environment(("gpu:1",), "auto")["CUDA_VISIBLE_DEVICES"] == "GPU-1"
    assert [gpu.memory_used >> 30 for gpu in device_load._Meter().read().gpus] == [4, 2]


def test_cpu_share_is_between_two_looks_and_thirty_looks_are_one(nvml, monkeypatch):
    nvml(None)
    meter, clock = device_load._Meter(), [100.0]
    times = psutil.cpu_times()._replace(**dict.fromkeys(psutil.cpu_times()._fields, 0.0))
    monkeypatch.setattr(device_load.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(device_load.psutil, "cpu_times", lambda: times)
    assert meter.read().cpu is None
    times = times._replace(user=3.0, idle=1.0)
    assert meter.read().cpu is None
    clock[0] += 1.1
    assert meter.read().cpu == 0.75
