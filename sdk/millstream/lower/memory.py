"""Where everything lies: one blob of constants, one scratch arena."""

from __future__ import annotations

from dataclasses import replace

from millstream.lower.draft import Draft
from millstream_runtime.arena import aligned, place_scratch
from millstream_runtime.program import Program


def assign(draft: Draft) -> tuple[Program, bytes]:
    """The finished program and its weights: every scratch buffer and constant gets its offset."""
    weights, offsets = _constants(draft)
    buffers = tuple(replace(b, offset=offsets.get(b.name, 0)) for b in draft.buffers)
    return place_scratch(Program(buffers, draft.stages, 0, len(weights))), weights


def _constants(draft: Draft) -> tuple[bytes, dict[str, int]]:
    blob, offsets = bytearray(), {}
    for buffer in draft.buffers:
        if buffer.role == "constant":
            offsets[buffer.name] = len(blob)
            blob += draft.arrays[buffer.name].tobytes()
            blob += bytes(aligned(len(blob)) - len(blob))
    return bytes(blob), offsets
