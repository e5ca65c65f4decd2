"""Constants and scratch of a program in C: how each buffer is called, and the bytes of the scratch."""

from __future__ import annotations

from millstream.origins import origins
from millstream.targets.c.names import identifiers
from millstream_runtime.program import Program, buffer_bytes, item_size


def storage_names(program: Program) -> dict[str, str]:
    """C names of constants, after the stage that first reads each, and of scratch, after the first writer."""
    known = origins(program)
    names = {}
    for role in ("constant", "scratch"):
        buffers = program.role(role)
        texts = identifiers(known.get(buffer.name, buffer.name) for buffer in buffers)
        names |= {buffer.name: text for buffer, text in zip(buffers, texts, strict=True)}
    return names


def scratch_bytes(program: Program) -> int:
    """Size of a union that holds every scratch buffer at its offset; 0 when there is none."""
    buffers = program.role("scratch")
    end = max((b.offset + buffer_bytes(b) for b in buffers), default=0)
    widest = max((item_size(b.dtype) for b in buffers), default=1)
    return -(-end // widest) * widest
