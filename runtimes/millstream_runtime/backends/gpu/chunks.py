"""Several frames of one stream on a device: they go there together, and their outputs come back together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from millstream_runtime.backends import Resident
from millstream_runtime.backends.arrays import POISON, check_arrays
from millstream_runtime.backends.gpu.device import Device
from millstream_runtime.backends.gpu.layout import rows_of, way_for
from millstream_runtime.chunked import FRAMES
from millstream_runtime.program import Buffer, buffer_bytes

#: In bytes: where parts of memory may begin on every device.
_APART = 512


class DeviceChunks:
    """See `backends.Chunks`. Whole steps, one after the other, by the kernels that step one frame."""

    frames = FRAMES

    def __init__(self, step: Resident) -> None:
        self._step = step

    def bind(
        self,
        inputs: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        next_states: Sequence[np.ndarray],
    ) -> Callable[[], None]:
        """See `Chunks.bind`. Raises WrongShape or WrongDtype for arrays that do not fit."""
        device, layout = self._step.device, self._step.layout
        given, made = layout.role("input"), layout.role("output")
        before, after = layout.role("state"), layout.role("next_state")
        check_arrays([*given, *made], [*inputs, *outputs], self.frames)
        check_arrays([*before, *after], [*states, *next_states], 1)
        way = way_for(layout, 1)
        memory, rows = self._step.memory(way, 1), rows_of(way, 1)
        ins, outs = ([_Frames(device, b, rows, self.frames) for b in role] for role in (given, made))
        calls = []
        for frame in range(self.frames):
            places = memory | {each.buffer.name: each.parts[frame] for each in (*ins, *outs)}
            calls += self._step.calls(way, 1, layout.turned(places) if frame % 2 else places)
        run = device.prepared(calls)
        # After an even number of frames the states are where they were.
        held = [memory[buffer.name] for buffer in before]

        def call() -> None:
            for frames, array in zip(ins, inputs, strict=True):
                frames.write(array)
            for place, array in zip(held, states, strict=True):
                device.write(place, array)
            run()
            for frames, array in zip(outs, outputs, strict=True):
                frames.read(array)
            for place, array in zip(held, next_states, strict=True):
                device.read(array, place)

        return call


class _Frames:
    """What one input or output is in every frame: parts of one piece of memory, and of one of the host."""

    def __init__(self, device: Device, buffer: Buffer, rows: int, frames: int) -> None:
        self.buffer, self._device = buffer, device
        self._size = buffer_bytes(buffer)
        apart = max(-(-rows * self._size // _APART), 1) * _APART
        self._host = np.full((frames, apart), POISON, np.uint8)
        self._memory = device.allocate(frames * apart)
        self.parts = [device.part(self._memory, frame * apart, apart) for frame in range(frames)]

    def write(self, array: np.ndarray) -> None:
        """Frames of the host, (frames, ...), to the device."""
        self._host[:, : self._size] = _bytes_of(array)
        self._device.write(self._memory, self._host)

    def read(self, array: np.ndarray) -> None:
        """Frames of the device into an array of the host, (frames, ...)."""
        self._device.read(self._host, self._memory)
        _bytes_of(array)[...] = self._host[:, : self._size]


def _bytes_of(array: np.ndarray) -> np.ndarray:
    """A C-contiguous array as bytes, (frames, bytes of one)."""
    return array.reshape(len(array), -1).view(np.uint8)
