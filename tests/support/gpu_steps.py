"""One step of kernels for GPUs on this host's OpenCL device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from backend_programs import poisoned

from millstream.targets.gpu.build import opencl_source
from millstream.targets.gpu.compiling import Kernels
from millstream_runtime.backends.gpu import layout
from millstream_runtime.backends.gpu.step import DeviceStep
from millstream_runtime.backends.opencl import OpenclDevice
from millstream_runtime.program import Program


def stepped(program: Program, made: Kernels, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Outputs and next states of all streams in `arrays`, the inputs and then the states."""
    step = DeviceStep(OpenclDevice(opencl_source(made.functions)), layout.load(made.layout), made.weights)
    inputs = len(program.role("input"))
    outputs, after = (poisoned(len(arrays[0]), program.role(role)) for role in ("output", "next_state"))
    step.bind(arrays[:inputs], arrays[inputs:], outputs, after)()
    return [*outputs, *after]
