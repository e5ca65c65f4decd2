"""A step on a device: its weights lie there once, and every bound call has memory of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from millstream_runtime.backends.arrays import check_arrays, check_weights
from millstream_runtime.backends.gpu.chunks import DeviceChunks
from millstream_runtime.backends.gpu.device import Call, Device, Memory
from millstream_runtime.backends.gpu.layout import (
    SCRATCH,
    WEIGHTS,
    Launch,
    Layout,
    Way,
    rows_of,
    way_for,
)
from millstream_runtime.backends.gpu.prefill import DevicePrefill
from millstream_runtime.program import buffer_bytes


class DeviceStep:
    """An opened step; see `backends.Step`. Raises PlanInvalid when weights and layout do not fit."""

    def __init__(self, device: Device, layout: Layout, weights: bytes) -> None:
        check_weights(weights, layout.weight_bytes)
        self.device = device
        self.layout = layout
        self._weights = device.allocate(len(weights))
        device.write(self._weights, np.frombuffer(weights, np.uint8))

    @property
    def chunks(self) -> DeviceChunks | DevicePrefill:
        """Frames of one stream, which go to the device together."""
        prefill = self.layout.prefill
        return DevicePrefill(self, prefill) if prefill else DeviceChunks(self)

    def bind(
        self,
        inputs: Sequence[np.ndarray],
        states: Sequence[np.ndarray],
        outputs: Sequence[np.ndarray],
        next_states: Sequence[np.ndarray],
    ) -> Callable[[], None]:
        """See `Step.bind`: everything goes to the device and back at each call.

        A pool keeps its states there; see `backends.Resident`. Raises WrongShape or WrongDtype.
        """
        arrays = [*inputs, *states, *outputs, *next_states]
        device, streams = self.device, check_arrays(self.layout.callers, arrays)
        way = way_for(self.layout, streams)
        memory = self.memory(way, streams)
        step = device.prepared(self.calls(way, streams, memory))
        pairs = [(memory[b.name], array) for b, array in zip(self.layout.callers, arrays, strict=True)]
        given, made = pairs[: len(inputs) + len(states)], pairs[len(inputs) + len(states) :]

        def call() -> None:
            for place, array in given:
                device.write(place, array)
            step()
            for place, array in made:
                device.read(array, place)

        return call

    def memory(self, way: Way, streams: int) -> dict[str, Memory]:
        """New memory for so many streams: scratch, and every buffer of the caller, by name."""
        rows = rows_of(way, streams)
        names = {name for launch in way.launches for name in launch.arrays}
        sizes = {b.name: buffer_bytes(b) for b in self.layout.callers}
        if SCRATCH in names:
            sizes[SCRATCH] = self.layout.scratch_bytes
        return {name: self.device.allocate(rows * size) for name, size in sizes.items()}

    def calls(self, way: Way, streams: int, memory: Mapping[str, Memory]) -> list[Call]:
        """One step of so many streams on that memory."""
        return self.launched(way.launches, rows_of(way, streams), memory)

    def launched(self, launches: Sequence[Launch], rows: int, memory: Mapping[str, Memory]) -> list[Call]:
        """Launches on so many rows of that memory."""
        held = {**memory, WEIGHTS: self._weights}
        return [
            Call(
                launch.kernel,
                rows // launch.streams,
                launch.columns,
                launch.threads,
                launch.shared_bytes,
                tuple(held[name] for name in launch.arrays),
                launch.numbers,
            )
            for launch in launches
        ]
