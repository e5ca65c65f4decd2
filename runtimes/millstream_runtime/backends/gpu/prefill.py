"""Several frames of one stream on a device, by kernels that take them together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from millstream_runtime.backends import Resident
from millstream_runtime.backends.arrays import check_arrays
from millstream_runtime.backends.gpu.layout import SCRATCH, Prefill
from millstream_runtime.program import buffer_bytes


class DevicePrefill:
    """See `backends.Chunks`. States go to the device before the first frame and come back behind the last."""

    def __init__(self, step: Resident, prefill: Prefill) -> None:
        self.frames = prefill.frames
        self._step, self._prefill = step, prefill

    def bind(
        self,
        inputs: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        next_states: Sequence[np.ndarray],
    ) -> Callable[[], None]:
        """See `Chunks.bind`. Raises WrongShape or WrongDtype for arrays that do not fit."""
        device, layout, frames = self._step.device, self._step.layout, self.frames
        given, made = layout.role("input"), layout.role("output")
        before, after = layout.role("state"), layout.role("next_state")
        check_arrays([*given, *made], [*inputs, *outputs], frames)
        check_arrays([*before, *after], [*states, *next_states], 1)
        sizes = {buffer.name: frames * buffer_bytes(buffer) for buffer in (*given, *made)}
        sizes |= {buffer.name: (frames + 1) * buffer_bytes(buffer) for buffer in before}
        sizes[SCRATCH] = frames * self._prefill.scratch_bytes
        memory = {name: device.allocate(size) for name, size in sizes.items()}
        run = device.prepared(self._step.launched(self._prefill.launches, frames, memory))

        def call() -> None:
            for buffer, array in zip((*given, *before), (*inputs, *states), strict=True):
                device.write(memory[buffer.name], array)
            run()
            for buffer, array in zip(made, outputs, strict=True):
                device.read(array, memory[buffer.name])
            for buffer, array in zip(before, next_states, strict=True):
                device.read(array, memory[buffer.name], frames * buffer_bytes(buffer))

        return call
