"""Arrays of the caller copied into the structs of `step.h` and out of them: how Python drives a step in C."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from millstream.targets.c.layout import Layout, Member, record
from millstream_runtime.backends.arrays import aligned, check_arrays
from millstream_runtime.program import Buffer


@dataclass(frozen=True)
class Structs:
    """The structs of one stream, each as its bytes; one without members has one byte, as in C."""

    input: np.ndarray
    state: np.ndarray
    output: np.ndarray
    next: np.ndarray


def bind_structs(
    layout: Layout,
    prepare: Callable[[Structs], Callable[[], None]],
    inputs: Sequence[np.ndarray],
    states: Sequence[np.ndarray],
    outputs: Sequence[np.ndarray],
    next_states: Sequence[np.ndarray],
) -> Callable[[], None]:
    """A call as `Step.bind` promises, which takes one stream after the other; `prepare` makes that of one.

    Raises WrongShape or WrongDtype for arrays that do not fit.
    """
    groups = (layout.input, layout.state, layout.output, layout.state)
    buffers = [_buffer(member) for members in groups for member in members]
    batch = check_arrays(buffers, [*inputs, *states, *outputs, *next_states])
    records = [_Records(members, batch) for members in groups]
    steps = [prepare(Structs(*(each.bytes_of(stream) for each in records))) for stream in range(batch)]
    copies_in = [*records[0].pairs(inputs), *records[1].pairs(states)]
    copies_out = [*records[2].pairs(outputs), *records[3].pairs(next_states)]

    def call() -> None:
        for inside, outside in copies_in:
            np.copyto(inside, outside)
        for step in steps:
            step()
        for inside, outside in copies_out:
            np.copyto(outside, inside)

    return call


class _Records:
    """One C struct per stream."""

    def __init__(self, members: Sequence[Member], batch: int) -> None:
        self._members = members
        self._dtype = record(members)
        self._size = max(self._dtype.itemsize, 1)
        self._memory = aligned(max(batch, 1) * self._size)
        self._batch = batch

    def bytes_of(self, stream: int) -> np.ndarray:
        return self._memory[stream * self._size : (stream + 1) * self._size]

    def pairs(self, arrays: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each array with elements: the members of the structs, and the array, both (batch, size)."""
        used = [(member, array) for member, array in zip(self._members, arrays, strict=True) if member.size]
        if not used:
            return []
        structs = self._memory[: self._batch * self._size].view(self._dtype)
        return [(structs[member.name], array.reshape(self._batch, member.size)) for member, array in used]


def _buffer(member: Member) -> Buffer:
    return Buffer(member.tensor.name, "", member.tensor.dtype, member.size)
