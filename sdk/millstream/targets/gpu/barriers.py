"""Where the threads of a block must wait for each other between the stages of one kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from millstream_runtime.program import Buffer, Program, Stage, buffer_bytes, loaded, stored_into


@dataclass(frozen=True)
class _Region:
    """Memory of one stream: scratch of each program by its bytes, what belongs to the caller as a whole."""

    space: str | int
    begin: float
    end: float


def barriers(stages: Sequence[Stage], *programs: Program) -> tuple[bool, ...]:
    """For each stage whether a barrier must stand before it: it reads what was written since the last one, or
    writes what was touched. Each of their buffers is one of these programs', whose scratch lies apart."""
    regions = {
        buffer.name: _region(buffer, number)
        for number, program in enumerate(programs)
        for buffer in program.buffers
        if buffer.role != "constant"
    }
    read: list[_Region] = []
    written: list[_Region] = []
    found = []
    for stage in stages:
        reads, writes = (
            [regions[name] for name in names(stage) if name in regions] for names in (loaded, stored_into)
        )
        wait = _meet(reads, written) or _meet(writes, [*read, *written])
        if wait:
            read, written = [], []
        read += reads
        written += writes
        found.append(wait)
    return tuple(found)


def _region(buffer: Buffer, program: int) -> _Region:
    if buffer.role == "scratch":
        return _Region(program, buffer.offset, buffer.offset + buffer_bytes(buffer))
    return _Region(buffer.name, 0, math.inf)


def _meet(some: Sequence[_Region], others: Sequence[_Region]) -> bool:
    return any(x.space == y.space and x.begin < y.end and y.begin < x.end for x in some for y in others)
