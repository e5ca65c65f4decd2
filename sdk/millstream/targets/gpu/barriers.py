"""Where the threads of a block must wait for each other between the stages of one kernel."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from millstream_runtime.program import Program, Stage, item_size, loaded, stored_into


@dataclass(frozen=True)
class _Region:
    """Memory of one stream: scratch by its bytes, what belongs to the caller as a whole."""

    space: str
    begin: float
    end: float


def barriers(stages: Sequence[Stage], program: Program) -> tuple[bool, ...]:
    """For each stage whether a barrier must stand before it: it reads what was written since the last one, or
    writes what was touched."""
    read: list[_Region] = []
    written: list[_Region] = []
    found = []
    for stage in stages:
        reads, writes = (list(_regions(names(stage), program)) for names in (loaded, stored_into))
        wait = _meet(reads, written) or _meet(writes, [*read, *written])
        if wait:
            read, written = [], []
        read += reads
        written += writes
        found.append(wait)
    return tuple(found)


def _regions(names: Iterable[str], program: Program) -> Iterator[_Region]:
    buffers = {buffer.name: buffer for buffer in program.buffers}
    for name in names:
        buffer = buffers[name]
        if buffer.role == "scratch":
            yield _Region("", buffer.offset, buffer.offset + buffer.size * item_size(buffer.dtype))
        elif buffer.role != "constant":
            yield _Region(name, 0, math.inf)


def _meet(some: Sequence[_Region], others: Sequence[_Region]) -> bool:
    return any(x.space == y.space and x.begin < y.end and y.begin < x.end for x in some for y in others)
