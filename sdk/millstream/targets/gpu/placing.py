"""A program on the memory of a block of threads: the weights, the scratch of its streams, the caller's arrays.

Every stage gets a first axis of streams. Scratch and weights are one array for each dtype, as all buffers of a
dtype lie in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from millstream_runtime.arena import ALIGNMENT, aligned
from millstream_runtime.program import Access, Buffer, Program, Stage, item_size
from millstream_runtime.rewriting import readdressed, with_leading_axis

#: Of shared memory: 32 banks of 4 bytes.
_BANKS = 128


@dataclass(frozen=True)
class Array:
    """An array that stages read or write: its elements for one stream, and whether streams share them."""

    name: str
    dtype: str
    size: int
    role: str


def arrays_of(program: Program) -> dict[str, Array]:
    """The array that each buffer of a program lies in, by the name of the buffer."""
    numbers = {buffer.name: number for number, buffer in enumerate(program.callers)}
    found = {}
    for buffer in program.buffers:
        if buffer.name in numbers:
            found[buffer.name] = Array(f"caller{numbers[buffer.name]}", buffer.dtype, buffer.size, buffer.role)
            continue
        whole = scratch_bytes(program) if buffer.role == "scratch" else aligned(program.weight_bytes)
        name = f"{'scratch' if buffer.role == 'scratch' else 'weights'}_{buffer.dtype}"
        found[buffer.name] = Array(name, buffer.dtype, whole // item_size(buffer.dtype), buffer.role)
    return found


def scratch_bytes(program: Program) -> int:
    """Bytes of scratch of one stream, such that the same element of neighbouring streams lies in different
    banks of shared memory."""
    size = aligned(program.scratch_bytes)
    return size + (-size + ALIGNMENT // 4) % _BANKS if size else 0


def placed(
    stage: Stage, buffers: Mapping[str, Buffer], arrays: Mapping[str, Array], streams: int
) -> Stage:
    """The stage for `streams` streams, on the arrays."""

    def place(access: Access, extents: tuple[int, ...]) -> Access:
        buffer, array = buffers[access.buffer], arrays[access.buffer]
        offset = access.offset + buffer.offset // item_size(buffer.dtype)
        apart = 0 if buffer.role == "constant" else array.size
        return replace(access, buffer=array.name, offset=offset, strides=(apart, *access.strides[1:]))

    return readdressed(with_leading_axis(stage, streams), place)
