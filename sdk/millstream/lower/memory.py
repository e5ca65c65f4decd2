"""Where everything lies: one blob of constants, one scratch arena shared by lifetimes."""

from __future__ import annotations

from dataclasses import replace

from millstream.lower.draft import Draft
from millstream_runtime.program import Buffer, Program, item_size

#: One cache line, and the widest vector of any target.
ALIGNMENT = 64


def assign(draft: Draft) -> tuple[Program, bytes]:
    """The finished program and its weights: every scratch buffer and constant gets its offset."""
    weights, offsets = _constants(draft)
    buffers = tuple(replace(b, offset=offsets.get(b.name, 0)) for b in draft.buffers)
    return place_scratch(Program(buffers, draft.stages, 0, len(weights))), weights


def place_scratch(program: Program) -> Program:
    """The program with its scratch buffers laid out anew; constants stay where they are."""
    offsets = _scratch(Draft(program.buffers, program.stages, {}))
    buffers = tuple(replace(b, offset=offsets.get(b.name, b.offset)) for b in program.buffers)
    ends = [offsets[b.name] + _bytes(b) for b in buffers if b.name in offsets]
    return replace(program, buffers=buffers, scratch_bytes=_aligned(max(ends, default=0)))


def _constants(draft: Draft) -> tuple[bytes, dict[str, int]]:
    blob, offsets = bytearray(), {}
    for buffer in draft.buffers:
        if buffer.role == "constant":
            offsets[buffer.name] = len(blob)
            blob += draft.arrays[buffer.name].tobytes()
            blob += bytes(_aligned(len(blob)) - len(blob))
    return bytes(blob), offsets


def _scratch(draft: Draft) -> dict[str, int]:
    """Largest first, each at the lowest offset where no buffer alive at the same time lies."""
    lifetimes = _lifetimes(draft)
    order = sorted((b for b in draft.buffers if b.name in lifetimes), key=lambda b: (-_bytes(b), b.name))
    placed: list[tuple[Buffer, int]] = []
    for buffer in order:
        first, last = lifetimes[buffer.name]
        taken = sorted(
            (offset, offset + _aligned(_bytes(other)))
            for other, offset in placed
            if lifetimes[other.name][0] <= last and first <= lifetimes[other.name][1]
        )
        placed.append((buffer, _lowest_gap(taken, _bytes(buffer))))
    return {buffer.name: offset for buffer, offset in placed}


def _lowest_gap(taken: list[tuple[int, int]], size: int) -> int:
    offset = 0
    for begin, end in taken:
        if offset + size <= begin:
            break
        offset = max(offset, end)
    return offset


def _lifetimes(draft: Draft) -> dict[str, tuple[int, int]]:
    """First and last stage that touches each scratch buffer."""
    found = {}
    for buffer in draft.buffers:
        if buffer.role == "scratch":
            touching = [*draft.writers[buffer.name], *(use.stage for use in draft.uses[buffer.name])]
            found[buffer.name] = (min(touching), max(touching))
    return found


def _bytes(buffer: Buffer) -> int:
    return buffer.size * item_size(buffer.dtype)


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
