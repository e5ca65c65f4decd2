"""Kernels for devices that this host lacks, proved as OpenCL: the same functions, for what is here."""

from __future__ import annotations

from collections.abc import Mapping

from millstream_runtime.backends import opencl
from millstream_runtime.backends.gpu.layout import load
from millstream_runtime.backends.gpu.step import DeviceStep

#: The kernels in OpenCL C, beside those of the device.
FILE = "step.cl"
_DRIVER = "apt install pocl-opencl-icd"


def missing() -> tuple[str, ...]:
    """The lines that install what proving takes."""
    if opencl.missing():
        return (opencl.missing(), _DRIVER)
    return () if opencl.has_device() else (_DRIVER,)


def open_proof(files: Mapping[str, bytes]) -> DeviceStep:
    """The step on the OpenCL device of this host. Raises BackendRefused, PlanInvalid."""
    return DeviceStep(
        opencl.OpenclDevice(files[FILE].decode()), load(files["layout.json"]), files["weights.bin"]
    )
