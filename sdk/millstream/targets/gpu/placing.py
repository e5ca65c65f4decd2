"""Where the threads of a block find what a program calls its buffers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from millstream_runtime.arena import ALIGNMENT, aligned
from millstream_runtime.program import Access, Buffer, Program, Stage, item_size
from millstream_runtime.rewriting import readdressed, with_leading_axis

#: Of shared memory: 32 banks of 4 bytes.
_BANKS = 128


@dataclass(frozen=True)
class Array:
    """An array that a kernel takes or keeps: weights, scratch, or a buffer of the caller.

    `apart` is the number of elements from one stream to the next, 0 where streams share them.
    """

    name: str
    dtype: str
    apart: int


def array_of(buffer: Buffer, program: Program) -> Array:
    """The array that a buffer lies in. Weights are one for each dtype, and scratch is."""
    if buffer.role == "constant":
        return Array(f"weights_{buffer.dtype}", buffer.dtype, 0)
    if buffer.role == "scratch":
        return Array(
            f"scratch_{buffer.dtype}", buffer.dtype, scratch_bytes(program) // item_size(buffer.dtype)
        )
    return Array(f"caller{program.callers.index(buffer)}", buffer.dtype, buffer.size)


def begin_of(buffer: Buffer) -> int:
    """The element of its array that a buffer begins at."""
    return buffer.offset // item_size(buffer.dtype)


def scratch_bytes(program: Program) -> int:
    """Bytes of scratch of one stream, such that the same element of neighbouring streams lies in different
    banks of shared memory."""
    size = aligned(program.scratch_bytes)
    return size + (-size + ALIGNMENT // 4) % _BANKS if size else 0


def of_streams(stage: Stage, streams: int, *programs: Program) -> Stage:
    """The stage with a first axis of streams, each on its own part of the arrays.

    Each of its buffers is one of these programs'.
    """
    arrays = {buffer.name: array_of(buffer, program) for program in programs for buffer in program.buffers}

    def apart(access: Access) -> Access:
        return replace(access, strides=(arrays[access.buffer].apart, *access.strides[1:]))

    return _readdressed(with_leading_axis(stage, streams), apart)


def on_arrays(stage: Stage, program: Program) -> Stage:
    """The stage on the arrays in place of the program's buffers; others stay as they are."""
    buffers = {buffer.name: buffer for buffer in program.buffers}

    def moved(access: Access) -> Access:
        buffer = buffers.get(access.buffer)
        if buffer is None:
            return access
        return replace(access, buffer=array_of(buffer, program).name, offset=access.offset + begin_of(buffer))

    return _readdressed(stage, moved)


def _readdressed(stage: Stage, place: Callable[[Access], Access]) -> Stage:
    return readdressed(stage, lambda access, extents: place(access))
