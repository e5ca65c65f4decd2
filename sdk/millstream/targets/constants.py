"""The constants of a program as arrays, and arrays as constants again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from millstream_runtime.arena import ALIGNMENT
from millstream_runtime.program import Buffer, Filled, Program


def constant_arrays(program: Program, weights: bytes) -> dict[str, np.ndarray]:
    """Each constant of the program, flat, by the name of its buffer."""
    return {
        buffer.name: np.frombuffer(weights, buffer.dtype, buffer.size, buffer.offset)
        for buffer in program.role("constant")
    }


def with_constants(program: Program, arrays: Mapping[str, np.ndarray]) -> Filled:
    """The program with these constants in place of its own; each begins on a cache line."""
    buffers, blob = [buffer for buffer in program.buffers if buffer.role != "constant"], bytearray()
    for name, array in arrays.items():
        buffers.append(Buffer(name, "constant", array.dtype.name, array.size, len(blob)))
        blob += array.tobytes()
        blob += bytes(-len(blob) % ALIGNMENT)
    return Filled(replace(program, buffers=tuple(buffers), weight_bytes=len(blob)), bytes(blob))
