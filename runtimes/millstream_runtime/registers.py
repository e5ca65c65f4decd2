"""The arrays that one stream or pool owns, and the step bound to them.

There are two sets of state arrays: a step reads the one and writes the other, then they change places.
So a step that fails half-way leaves the state as it was, and nothing is copied or allocated.
"""

from __future__ import annotations

import numpy as np

from millstream_runtime.backends import Chunks
from millstream_runtime.core import Core
from millstream_runtime.spec import ModelSpec

ALIGNMENT = 64


class Registers:
    """Inputs, outputs and two sets of states of `batch` streams; states hold their initial values.

    `inputs`, `outputs`, `states` and `next_states` are tuples of arrays in graph order, each with a
    leading dimension of `batch`. After `tick`, `states` is what the step wrote.
    """

    __slots__ = (
        "_back",
        "_chunk",
        "_core",
        "_forth",
        "_initial",
        "inputs",
        "next_states",
        "outputs",
        "states",
    )

    def __init__(self, core: Core, batch: int) -> None:
        spec = core.spec
        self._core = core
        self._chunk: Chunk | None = None
        self._initial = core.initial
        self.inputs = tuple(aligned((batch, *t.shape), t.dtype) for t in spec.graph_inputs)
        self.outputs = tuple(aligned((batch, *t.shape), t.dtype) for t in spec.outputs)
        self.states = tuple(aligned((batch, *s.shape), s.dtype) for s in spec.states)
        self.next_states = tuple(aligned((batch, *s.shape), s.dtype) for s in spec.states)
        self._forth = core.step.bind(self.inputs, self.states, self.outputs, self.next_states)
        self._back = core.step.bind(self.inputs, self.next_states, self.outputs, self.states)
        self.reset(np.ones(batch, bool))

    def tick(self) -> None:
        """Run the step once; the states before it stay readable in `next_states` until the next one."""
        self._forth()
        # As in `tick_chunk`, written out because this runs at every frame.
        self._forth, self._back = self._back, self._forth
        self.states, self.next_states = self.next_states, self.states

    def chunk(self) -> Chunk | None:
        """The arrays of several frames of one stream, for `tick_chunk`; None where frames go one by one."""
        chunks = self._core.step.chunks
        if self._chunk is None and chunks:
            self._chunk = Chunk(self._core.spec, chunks, self.states, self.next_states)
        return self._chunk

    def tick_chunk(self, chunk: Chunk) -> None:
        """Run the step on all frames of a chunk."""
        chunk.run(self.states)
        self._forth, self._back = self._back, self._forth
        self.states, self.next_states = self.next_states, self.states

    def fetch(self) -> None:
        """Bring the outputs to the host, where they are."""

    def keep(self, rows: np.ndarray) -> None:
        """Give these rows (a boolean mask) the states back that they had before `tick`."""
        for state, before in zip(self.states, self.next_states, strict=True):
            state[rows] = before[rows]

    def reset(self, rows: np.ndarray) -> None:
        """Give the initial values to the states of these rows (a boolean mask)."""
        for state, value in zip(self.states, self._initial, strict=True):
            state[rows] = value

    def load(self, row: int, states: tuple[np.ndarray, ...]) -> None:
        """Copy the given states, which have no batch dimension, into one row."""
        for state, value in zip(self.states, states, strict=True):
            state[row] = value

    def save(self, row: int) -> tuple[np.ndarray, ...]:
        """Copies of the states of one row, without batch dimension."""
        return tuple(np.array(state[row]) for state in self.states)


class Chunk:
    """Inputs and outputs of several frames of one stream, each array with a leading dimension of `frames`."""

    __slots__ = ("_back", "_first", "_forth", "frames", "inputs", "outputs")

    def __init__(
        self,
        spec: ModelSpec,
        chunks: Chunks,
        states: tuple[np.ndarray, ...],
        next_states: tuple[np.ndarray, ...],
    ) -> None:
        self.frames = chunks.frames
        self.inputs = tuple(aligned((self.frames, *t.shape), t.dtype) for t in spec.graph_inputs)
        self.outputs = tuple(aligned((self.frames, *t.shape), t.dtype) for t in spec.outputs)
        self._first = states
        self._forth = chunks.bind(self.inputs, states, self.outputs, next_states)
        self._back = chunks.bind(self.inputs, next_states, self.outputs, states)

    def run(self, states: tuple[np.ndarray, ...]) -> None:
        """Go from `states`, one of the two sets that the chunk was made with, to the other set."""
        call = self._forth if states is self._first else self._back
        call()


def aligned(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Zeros, C-contiguous, beginning at a multiple of 64 bytes: a cache line, a vector register."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)
