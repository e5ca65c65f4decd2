"""Run half for OpenCL: kernels in `step.cl`, built where they are first opened, for any device with it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from millstream_runtime.backends.arrays import POISON
from millstream_runtime.backends.gpu.device import Call
from millstream_runtime.backends.gpu.dlpack import Given
from millstream_runtime.backends.gpu.layout import load
from millstream_runtime.backends.gpu.step import DeviceStep
from millstream_runtime.errors import BackendRefused, WrongDtype
from millstream_runtime.spec import ModelSpec, TargetSpec

_POISON = np.array(POISON, np.uint8)
#: Division and square roots as everywhere else.
_OPTIONS = ["-cl-fp32-correctly-rounded-divide-sqrt"]


def missing() -> str:
    """The line that installs the binding of OpenCL, when it is not there."""
    return "" if importlib.util.find_spec("pyopencl") else "pip install pyopencl"


def open(files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> DeviceStep:
    """Build the kernels for the first device. Raises BackendRefused, PlanInvalid."""
    layout = load(files["layout.json"])
    return DeviceStep(OpenclDevice(files["step.cl"].decode()), layout, files["weights.bin"])


class OpenclDevice:
    """The first device, graphics before others, with the kernels of a step; see `gpu.device.Device`."""

    #: DLPack's number of OpenCL.
    dlpack: tuple[int, int] = (4, 0)

    def __init__(self, source: str) -> None:
        import pyopencl

        self._cl = pyopencl
        device = first_device()
        self.name = device.name
        self._context = pyopencl.Context([device])
        self._queue = pyopencl.CommandQueue(self._context)
        try:
            self._program = pyopencl.Program(self._context, source).build(options=_OPTIONS)
        except pyopencl.RuntimeError as error:
            raise BackendRefused("the kernels cannot be built", where=self.name, why=str(error)) from error

    def allocate(self, size: int) -> Any:
        memory = self._cl.Buffer(self._context, self._cl.mem_flags.READ_WRITE, max(size, 1))
        self._cl.enqueue_fill_buffer(self._queue, memory, _POISON, 0, max(size, 1))
        return memory

    def part(self, memory: Any, begin: int, size: int) -> Any:
        return memory.get_sub_region(begin, size)

    def write(self, memory: Any, array: np.ndarray, begin: int = 0) -> None:
        if array.nbytes:
            self._cl.enqueue_copy(self._queue, memory, array, dst_offset=begin, is_blocking=True)

    def read(self, array: np.ndarray, memory: Any, begin: int = 0) -> None:
        if array.nbytes:
            self._cl.enqueue_copy(self._queue, array, memory, src_offset=begin, is_blocking=True)

    def look(self, array: Any) -> Given:
        raise _elsewhere()

    def take(self, memory: Any, given: Given) -> None:
        raise _elsewhere()

    def run(self, call: Call) -> None:
        self.prepared([call])()

    def prepared(self, calls: Sequence[Call]) -> Callable[[], None]:
        ready = []
        for call in calls:
            kernel = self._cl.Kernel(self._program, call.kernel)
            kernel.set_args(*call.memory, *map(np.int32, call.numbers))
            ready.append((kernel, (call.blocks * call.threads, call.columns), (call.threads, 1)))

        def run(held: object = calls) -> None:  # a kernel keeps no memory alive
            for kernel, points, block in ready:
                self._cl.enqueue_nd_range_kernel(self._queue, kernel, points, block)

        return run

    def finish(self) -> None:
        self._queue.finish()


def has_device() -> bool:
    """Whether this machine has a device; pyopencl is here."""
    try:
        first_device()
    except BackendRefused:
        return False
    return True


def first_device() -> Any:
    """The first device of this machine, graphics before others. Raises BackendRefused when there is none."""
    import pyopencl

    try:
        found = [device for platform in pyopencl.get_platforms() for device in platform.get_devices()]
    except pyopencl.LogicError as error:
        raise _nothing(str(error)) from error
    if not found:
        raise _nothing("no platform has one")
    return min(found, key=lambda device: device.type != pyopencl.device_type.GPU)


def _elsewhere() -> WrongDtype:
    return WrongDtype("frames on a device", why="OpenCL takes those of the host alone", fix="use NumPy")


def _nothing(why: str) -> BackendRefused:
    return BackendRefused(
        "there is no OpenCL device",
        why=why,
        fix="install its driver, or apt install pocl-opencl-icd for the CPU",
    )
