"""The run halves of the backends, and the protocol that they share.

There is no base class and no registration: `BACKENDS` is the whole list, in order of preference, and
a backend's module is imported only when it is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, cast, runtime_checkable

import numpy as np

from millstream_runtime.errors import BackendUnknown
from millstream_runtime.spec import ModelSpec, TargetSpec

if TYPE_CHECKING:
    from millstream_runtime.backends.gpu.device import Call, Device, Memory
    from millstream_runtime.backends.gpu.layout import Launch, Layout, Way


class Step(Protocol):
    """One opened step of one model: immutable, shared by all streams, bound once per stream."""

    @property
    def chunks(self) -> Chunks | None:
        """What takes several frames of one stream at once; None where frames go one by one."""
        ...

    def bind(
        self,
        inputs: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        next_states: Sequence[np.ndarray],
    ) -> Callable[[], None]:
        """A call that runs one step from `inputs` and `states` into `outputs` and `next_states`.

        All arrays are C-contiguous, owned by the caller, have a leading batch dimension and stand in
        graph order (`valid` is the last input when there is one); `states` and `next_states` never
        share memory. The call allocates nothing and keeps nothing from one run to the next. Two bound
        calls may run in two threads; one bound call may not.
        """
        ...


@runtime_checkable
class Resident(Protocol):
    """A step on a device, where the states of its pools stay. See `backends.gpu.step.DeviceStep`."""

    device: Device
    layout: Layout

    def memory(self, way: Way, streams: int) -> dict[str, Memory]:
        """New memory for so many streams, by name."""
        ...

    def calls(self, way: Way, streams: int, memory: Mapping[str, Memory]) -> list[Call]:
        """One step of so many streams on that memory."""
        ...

    def launched(self, launches: Sequence[Launch], rows: int, memory: Mapping[str, Memory]) -> list[Call]:
        """Launches on so many rows of that memory."""
        ...


class Chunks(Protocol):
    """Several frames of one stream at once, with the results that they have one by one."""

    @property
    def frames(self) -> int:
        """How many frames; always so many."""
        ...

    def bind(
        self,
        inputs: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        next_states: Sequence[np.ndarray],
    ) -> Callable[[], None]:
        """As `Step.bind`, but that inputs and outputs have a leading dimension of `frames`, states of 1."""
        ...


class Backend(Protocol):
    """What the module of a run half offers."""

    def missing(self) -> str:
        """Empty when the backend's library is here, else the exact line that installs it."""
        ...

    def open(self, files: Mapping[str, bytes], spec: ModelSpec, target: TargetSpec) -> Step:
        """Open a compiled target; `files` is keyed by name relative to the target's folder.

        Raises a BackendError when it cannot run here, PlanInvalid when its files are malformed.
        """
        ...


#: Fastest first for one stream. Name of the backend, and the module of its run half.
BACKENDS: tuple[tuple[str, str], ...] = (
    ("tvm", "millstream_runtime.backends.tvm"),
    ("numba", "millstream_runtime.backends.numba"),
    ("relax", "millstream_runtime.backends.relax"),
    ("onnxruntime", "millstream_runtime.backends.onnxruntime"),
    ("cuda", "millstream_runtime.backends.cuda"),
    ("opencl", "millstream_runtime.backends.opencl"),
    ("verilator", "millstream_runtime.backends.verilator"),
    ("serial", "millstream_runtime.backends.serial"),
)


def has_backend(name: str) -> bool:
    """Whether there is a run half of that name."""
    return name in dict(BACKENDS)


def load_backend(name: str) -> Backend:
    """The run half of that name. Raises BackendUnknown."""
    modules = dict(BACKENDS)
    if not has_backend(name):
        raise BackendUnknown(f"no backend is called {name!r}", fix="use one of " + ", ".join(modules))
    return cast(Backend, importlib.import_module(modules[name]))
