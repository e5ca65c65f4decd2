"""Kernels for GPUs and their steps on this host's OpenCL device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from backend_programs import poisoned

from millstream.targets.gpu.build import opencl_source
from millstream.targets.gpu.compiling import Choice, Kernels, kernels
from millstream.targets.gpu.forms import Tile
from millstream_runtime.backends.gpu import layout
from millstream_runtime.backends.gpu.step import DeviceStep
from millstream_runtime.backends.opencl import OpenclDevice
from millstream_runtime.program import Program


def kernels_of(program: Program, weights: bytes, tiles: tuple[Tile, ...], shared: int = 1 << 20) -> Kernels:
    """The kernels with these tiles alone, blocks of which may have `shared` bytes of shared memory."""
    return kernels(program, weights, [Choice(1, tiles)], shared)


def step_of(made: Kernels) -> DeviceStep:
    """Their step."""
    return DeviceStep(OpenclDevice(opencl_source(made.functions)), layout.load(made.layout), made.weights)


def stepped(program: Program, made: Kernels, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Outputs and next states of all streams in `arrays`, the inputs and then the states."""
    inputs = len(program.role("input"))
    outputs, after = (poisoned(len(arrays[0]), program.role(role)) for role in ("output", "next_state"))
    step_of(made).bind(arrays[:inputs], arrays[inputs:], outputs, after)()
    return [*outputs, *after]
