"""A program for several streams at once: every stage gets a leading axis of streams.

Where a stage multiplies by constants, that axis makes a product of matrices out of one of a matrix and a
vector: each constant is read once for all streams.
"""

from __future__ import annotations

from dataclasses import replace

from millstream_runtime.arena import place_scratch
from millstream_runtime.program import Access, Buffer, Program, Stage
from millstream_runtime.rewriting import readdressed, with_leading_axis

#: So many streams go together: enough to make products of matrices, few enough to stay in the caches.
STREAMS = 16


def batched(program: Program, streams: int) -> Program:
    """`program` for `streams` streams that lie one after the other in every buffer but the constants.

    The constants stay where they are, so that both programs read one blob of weights.
    """
    sizes = {b.name: 0 if b.role == "constant" else b.size for b in program.buffers}

    def apart(access: Access, extents: tuple[int, ...]) -> Access:
        return replace(access, strides=(sizes[access.buffer], *access.strides[1:]))

    def of_all(stage: Stage) -> Stage:
        return readdressed(with_leading_axis(stage, streams), apart)

    buffers = tuple(_of_all(buffer, streams) for buffer in program.buffers)
    return place_scratch(replace(program, buffers=buffers, stages=tuple(map(of_all, program.stages))))


def _of_all(buffer: Buffer, streams: int) -> Buffer:
    return buffer if buffer.role == "constant" else replace(buffer, size=streams * buffer.size)
