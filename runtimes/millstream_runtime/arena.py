"""Where scratch lies: one arena, which buffers share that are never needed at the same time."""

from __future__ import annotations

from dataclasses import replace

from millstream_runtime.program import Buffer, Program, buffer_bytes, loaded, stored_into

#: One cache line, and the widest vector of any target.
ALIGNMENT = 64


def place_scratch(program: Program) -> Program:
    """The program with its scratch buffers laid out anew; constants stay where they are."""
    offsets = _offsets(program)
    buffers = tuple(replace(b, offset=offsets.get(b.name, b.offset)) for b in program.buffers)
    ends = [offsets[b.name] + buffer_bytes(b) for b in buffers if b.name in offsets]
    return replace(program, buffers=buffers, scratch_bytes=aligned(max(ends, default=0)))


def aligned(size: int) -> int:
    """The next multiple of `ALIGNMENT`."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def _offsets(program: Program) -> dict[str, int]:
    """Largest first, each at the lowest offset where no buffer alive at the same time lies.

    Those of one size come in the order of the program, so that layers that are alike lie alike.
    """
    lifetimes = _lifetimes(program)
    order = sorted((b for b in program.buffers if b.name in lifetimes), key=lambda b: -buffer_bytes(b))
    placed: list[tuple[Buffer, int]] = []
    for buffer in order:
        first, last = lifetimes[buffer.name]
        taken = sorted(
            (offset, offset + aligned(buffer_bytes(other)))
            for other, offset in placed
            if lifetimes[other.name][0] <= last and first <= lifetimes[other.name][1]
        )
        placed.append((buffer, _lowest_gap(taken, buffer_bytes(buffer))))
    return {buffer.name: offset for buffer, offset in placed}


def _lowest_gap(taken: list[tuple[int, int]], size: int) -> int:
    offset = 0
    for begin, end in taken:
        if offset + size <= begin:
            break
        offset = max(offset, end)
    return offset


def _lifetimes(program: Program) -> dict[str, tuple[int, int]]:
    """First and last stage that touches each scratch buffer."""
    scratch = {buffer.name for buffer in program.role("scratch")}
    found: dict[str, tuple[int, int]] = {}
    for number, stage in enumerate(program.stages):
        for name in scratch.intersection(loaded(stage) | stored_into(stage)):
            found[name] = (found.get(name, (number, number))[0], number)
    return found
