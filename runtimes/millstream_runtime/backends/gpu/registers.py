"""The memory that a pool has on a device, and the step bound to it: states never leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from millstream_runtime.backends import Resident
from millstream_runtime.backends.gpu.array import DeviceArray
from millstream_runtime.backends.gpu.choosing import THREADS, kernel_for
from millstream_runtime.backends.gpu.device import Call, Memory
from millstream_runtime.backends.gpu.layout import way_for
from millstream_runtime.core import Core
from millstream_runtime.program import Buffer, buffer_bytes
from millstream_runtime.registers import aligned


class DeviceRegisters:
    """As `millstream_runtime.registers.Registers`, but that states lie on the device.

    `inputs` are arrays of the host that `tick` takes; frames that lie on the device already are given to
    `put` instead. `fetch` brings the outputs into `outputs`, arrays of the host.
    """

    def __init__(self, core: Core, step: Resident, batch: int) -> None:
        spec, self._step, self._batch = core.spec, step, batch
        self.inputs = tuple(aligned((batch, *t.shape), t.dtype) for t in spec.graph_inputs)
        self.outputs = tuple(aligned((batch, *t.shape), t.dtype) for t in spec.outputs)
        self._shapes = [(t.shape, t.dtype) for t in spec.outputs]
        self._state_shapes = [state.shape for state in spec.states]
        self._given, self._made = step.layout.role("input"), step.layout.role("output")
        self._states, after = step.layout.role("state"), step.layout.role("next_state")
        way = way_for(step.layout, batch)
        memory = step.memory(way, batch)
        self._memory = memory
        self._now = [memory[buffer.name] for buffer in self._states]
        self._before = [memory[buffer.name] for buffer in after]
        turns = (memory, step.layout.turned(memory))
        self._forth, self._back = (step.device.prepared(step.calls(way, batch, each)) for each in turns)
        self._initial = [self._uploaded(np.ascontiguousarray(value)) for value in core.initial]
        self._zeros = self._uploaded(np.zeros(max((map(buffer_bytes, self._made)), default=0), np.uint8))
        self._mask = step.device.allocate(batch)
        self._put = [False] * len(self._given)
        self.reset(np.ones(batch, bool))

    def tick(self) -> None:
        """Run the step once, on the inputs of the host but for those that were `put`."""
        for number, (buffer, array) in enumerate(zip(self._given, self.inputs, strict=True)):
            if not self._put[number]:
                self._step.device.write(self._memory[buffer.name], array)
        self._put = [False] * len(self._given)
        self._forth()
        self._forth, self._back = self._back, self._forth
        self._now, self._before = self._before, self._now

    def takes(self, frame: object) -> bool:
        """Whether frames lie on a device, as far as they say so, and can be `put`."""
        return not isinstance(frame, np.ndarray) and hasattr(frame, "__dlpack__")

    def put(self, number: int, frame: Any, admit: Callable[[tuple[int, ...], str], None]) -> None:
        """Take the frames of one input from an array on the device.

        `admit` is called with its shape and dtype, and raises when they are wrong.
        """
        given = self._step.device.look(frame)
        admit(given.shape, given.dtype)
        self._step.device.take(self._memory[self._given[number].name], given)
        self._put[number] = True

    def fetch(self) -> None:
        """Bring the outputs to the host."""
        for buffer, array in zip(self._made, self.outputs, strict=True):
            self._step.device.read(array, self._memory[buffer.name])

    def results(self, blank: np.ndarray) -> DeviceArray | tuple[DeviceArray, ...]:
        """The outputs where they are, until the next `tick`, with zeros for the rows `blank`."""
        made = [self._memory[buffer.name] for buffer in self._made]
        self._choose(blank, self._made, [self._zeros] * len(made), made, together=True)
        arrays = tuple(
            DeviceArray(self._step.device, memory, (self._batch, *shape), dtype)
            for memory, (shape, dtype) in zip(made, self._shapes, strict=True)
        )
        return arrays[0] if len(arrays) == 1 else arrays

    def keep(self, rows: np.ndarray) -> None:
        """Give these rows (a boolean mask) the states back that they had before `tick`."""
        self._choose(rows, self._states, self._before, self._now, together=False)

    def reset(self, rows: np.ndarray) -> None:
        """Give the initial values to the states of these rows."""
        self._choose(rows, self._states, self._initial, self._now, together=True)

    def load(self, row: int, states: tuple[np.ndarray, ...]) -> None:
        """Copy the given states, which have no batch dimension, into one row."""
        for buffer, memory, value in zip(self._states, self._now, states, strict=True):
            self._step.device.write(memory, np.ascontiguousarray(value), row * buffer_bytes(buffer))

    def save(self, row: int) -> tuple[np.ndarray, ...]:
        """Copies of the states of one row, without batch dimension."""
        found = []
        for buffer, memory, shape in zip(self._states, self._now, self._state_shapes, strict=True):
            value = np.empty(shape, buffer.dtype)
            self._step.device.read(value, memory, row * buffer_bytes(buffer))
            found.append(value)
        return tuple(found)

    def _uploaded(self, array: np.ndarray) -> Memory:
        memory = self._step.device.allocate(array.nbytes)
        self._step.device.write(memory, array)
        return memory

    def _choose(
        self,
        rows: np.ndarray,
        buffers: Sequence[Buffer],
        sources: Sequence[Memory],
        targets: Sequence[Memory],
        together: bool,
    ) -> None:
        """Copy these rows from `sources` to `targets`; `together` says that a source is one row for all."""
        if not rows.any() or not buffers:
            return
        device = self._step.device
        device.write(self._mask, rows.astype(np.uint8))
        for buffer, source, target in zip(buffers, sources, targets, strict=True):
            kernel, size = kernel_for(buffer_bytes(buffer))
            memory, numbers = (self._mask, source, target), (size, 0 if together else size)
            device.run(Call(kernel, self._batch, -(-size // THREADS), THREADS, 0, memory, numbers))
