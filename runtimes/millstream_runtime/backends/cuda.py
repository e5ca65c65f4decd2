"""Run half for GPUs of NVIDIA: kernels in `step.cubin`, made for one generation of them.

It needs the driver, and NVIDIA's binding of it to Python. All launches of a step are recorded once, as one
graph, and replayed.
"""

from __future__ import annotations

import ctypes
import importlib.util
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from millstream_runtime.backends.arrays import POISON
from millstream_runtime.backends.gpu import dlpack
from millstream_runtime.backends.gpu.choosing import KERNELS
from millstream_runtime.backends.gpu.device import Call
from millstream_runtime.backends.gpu.dlpack import Given
from millstream_runtime.backends.gpu.layout import Layout, load
from millstream_runtime.backends.gpu.step import DeviceStep
from millstream_runtime.errors import BackendRefused, MachineMismatch, WrongDtype
from millstream_runtime.spec import ModelSpec, TargetSpec

_PREFIX = "sm_"


def missing() -> str:
    """The line that installs the binding of the driver, when it is not there."""
    found = importlib.util.find_spec("cuda") and importlib.util.find_spec("cuda.bindings")
    return "" if found else "pip install cuda-bindings"


def open(files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> DeviceStep:
    """Open the step on the first device. Raises MachineMismatch, BackendRefused, PlanInvalid."""
    layout = load(files["layout.json"])
    return DeviceStep(
        CudaDevice(files["step.cubin"], target.machine.arch, layout), layout, files["weights.bin"]
    )


class CudaDevice:
    """The first device, with the kernels of a step; see `gpu.device.Device`."""

    dlpack: tuple[int, int] = (dlpack.CUDA, 0)

    def __init__(self, cubin: bytes, arch: str, layout: Layout) -> None:
        from cuda.bindings import driver  # pyright: ignore[reportAttributeAccessIssue]

        self._driver = driver
        self._lock = threading.Lock()
        try:
            self._ask(driver.cuInit(0), "the driver cannot be started")
        except RuntimeError as error:  # so says the binding where there is no driver at all
            raise BackendRefused("there is no driver", where="CUDA", why=str(error)) from error
        number = self._ask(driver.cuDeviceGet(0), "there is no device")
        self.name = self._ask(driver.cuDeviceGetName(100, number), "the device has no name")
        self.name = self.name.split(b"\0")[0].decode()
        self._check(number, arch)
        # The context that everybody in this process uses, so that arrays of other libraries can be read.
        self._context = self._ask(driver.cuDevicePrimaryCtxRetain(number), "the device cannot be used")
        self._enter()
        self.stream = self._ask(
            driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING), "no stream can be made"
        )
        module = self._ask(driver.cuModuleLoadData(cubin), "the kernels cannot be loaded")
        shared: dict[str, int] = dict.fromkeys(KERNELS.values(), 0)
        for launch in layout.launches:
            shared[launch.kernel] = max(shared.get(launch.kernel, 0), launch.shared_bytes)
        self._kernels = {name: self._kernel(module, name, size) for name, size in shared.items()}

    def _kernel(self, module: Any, name: str, shared_bytes: int) -> Any:
        driver = self._driver
        kernel = self._ask(driver.cuModuleGetFunction(module, name.encode()), f"there is no kernel {name}")
        attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        self._ask(
            driver.cuFuncSetAttribute(kernel, attribute, shared_bytes), "shared memory does not suffice"
        )
        return kernel

    def _check(self, number: Any, arch: str) -> None:
        """Kernels run on their own generation, from their own version on."""
        kinds = self._driver.CUdevice_attribute
        parts = (
            kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
        )
        here = [self._ask(self._driver.cuDeviceGetAttribute(part, number), "asking failed") for part in parts]
        wanted = divmod(int(arch.removeprefix(_PREFIX)), 10)
        if here[0] != wanted[0] or here[1] < wanted[1]:
            raise MachineMismatch(
                "this target was compiled for another GPU",
                why=f"it wants {arch}, and {self.name} is sm_{here[0]}{here[1]}",
                fix="export with the target of its generation; `millstream targets` lists them",
            )

    def _ask(self, answer: tuple[Any, ...], what: str) -> Any:
        """The result of a call of the driver. Raises BackendRefused."""
        status, *results = answer
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise BackendRefused(what, where="CUDA", why=status.name)
        return results[0] if results else None

    def _enter(self) -> None:
        self._ask(self._driver.cuCtxSetCurrent(self._context), "the device cannot be used")

    def allocate(self, size: int) -> CudaMemory:
        self._enter()
        address = int(self._ask(self._driver.cuMemAlloc(max(size, 1)), f"no {size} bytes are free"))
        self._ask(self._driver.cuMemsetD8Async(address, POISON, size, self.stream), "memory cannot be filled")
        return CudaMemory(self, address, size)

    def free(self, address: int) -> None:
        """Give memory back."""
        self._enter()
        self._ask(self._driver.cuMemFree(address), "memory cannot be given back")

    def part(self, memory: CudaMemory, begin: int, size: int) -> CudaPart:
        return CudaPart(memory, memory.address + begin)

    def write(self, memory: CudaMemory, array: np.ndarray, begin: int = 0) -> None:
        self._enter()
        place, target = array.ctypes.data, memory.address + begin
        answer = self._driver.cuMemcpyHtoDAsync(target, place, array.nbytes, self.stream)
        self._ask(answer, "copying failed")
        self.finish()

    def read(self, array: np.ndarray, memory: CudaMemory, begin: int = 0) -> None:
        self._enter()
        place, source = array.ctypes.data, memory.address + begin
        answer = self._driver.cuMemcpyDtoHAsync(place, source, array.nbytes, self.stream)
        self._ask(answer, "copying failed")
        self.finish()

    def look(self, array: Any) -> Given:
        self._enter()
        given = dlpack.read(array, int(self.stream))
        if given.device != self.dlpack or not given.is_contiguous:
            raise WrongDtype(
                f"frames on device {given.device}",
                why="frames on a device are C-contiguous, on the device of the model",
            )
        return given

    def take(self, memory: CudaMemory, given: Given) -> None:
        self._enter()
        size = int(np.prod(given.shape)) * np.dtype(given.dtype).itemsize
        answer = self._driver.cuMemcpyDtoDAsync(memory.address, given.address, size, self.stream)
        self._ask(answer, "copying failed")

    def run(self, call: Call) -> None:
        self._enter()
        with self._lock:
            self._launch(call)

    def prepared(self, calls: Sequence[Call]) -> Callable[[], None]:
        self._enter()
        driver = self._driver
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        with self._lock:
            self._ask(driver.cuStreamBeginCapture(self.stream, mode), "launches cannot be recorded")
            for call in calls:
                self._launch(call)
            graph = self._ask(driver.cuStreamEndCapture(self.stream), "launches cannot be recorded")
        ready = self._ask(driver.cuGraphInstantiate(graph, 0), "launches cannot be recorded")
        self._ask(driver.cuGraphDestroy(graph), "a graph cannot be given back")
        return _Recorded(self, ready, calls)

    def _launch(self, call: Call) -> None:
        values = (*(memory.address for memory in call.memory), *call.numbers)
        kinds = (*(ctypes.c_void_p for _ in call.memory), *(ctypes.c_int for _ in call.numbers))
        blocks, threads = (call.blocks, call.columns, 1), (call.threads, 1, 1)
        answer = self._driver.cuLaunchKernel(
            self._kernels[call.kernel], *blocks, *threads, call.shared_bytes, self.stream, (values, kinds), 0
        )
        self._ask(answer, f"{call.kernel} cannot be launched")

    def replay(self, graph: Any) -> None:
        """Run what was recorded."""
        self._enter()
        self._ask(self._driver.cuGraphLaunch(graph, self.stream), "a step cannot be launched")

    def forget(self, graph: Any) -> None:
        """Give a recording back."""
        self._driver.cuGraphExecDestroy(graph)

    def finish(self) -> None:
        self._enter()
        self._ask(self._driver.cuStreamSynchronize(self.stream), "the device failed")


class CudaMemory:
    """Bytes on the device, given back with this object."""

    def __init__(self, device: CudaDevice, address: int, size: int) -> None:
        self._device, self.address, self.size = device, address, size

    def __del__(self) -> None:
        self._device.free(self.address)


@dataclass(frozen=True)
class CudaPart:
    """Bytes within those of `whole`."""

    whole: CudaMemory
    address: int


class _Recorded:
    """Launches recorded as a graph; it keeps their memory alive."""

    def __init__(self, device: CudaDevice, graph: Any, calls: Sequence[Call]) -> None:
        self._device, self._graph, self._calls = device, graph, calls

    def __call__(self) -> None:
        self._device.replay(self._graph)

    def __del__(self) -> None:
        self._device.forget(self._graph)
