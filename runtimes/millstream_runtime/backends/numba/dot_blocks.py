"""Blocked dot products of int8 as lines of Python."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from millstream_runtime.backends.numba.expression import Point
from millstream_runtime.backends.numba.loops import Index, Loops
from millstream_runtime.lanes import DOT, Dot, tile_axis

#: The widest vectors of totals; LLVM cuts them into the registers that the CPU has.
_WIDEST = 128


def dot_block_lines(loops: Loops, dot: Dot, parts: int) -> Iterator[str]:
    """All lanes of the last axis at once, then the value of each; `parts` sums are kept for each lane."""
    axis = tile_axis(loops.stage, [dot.shared, dot.own])
    yield from loops.tiles(axis, lambda rows: _block(loops, dot, parts, rows))


def _block(loops: Loops, dot: Dot, parts: int, rows: Sequence[Index]) -> Iterator[str]:
    """The lanes at each of several places, which read the same weights."""
    axis, last, width = loops.outer - 1, len(loops.extents) - 2, loops.extents[loops.outer - 1]
    sets = loops.sets(width * parts, last, _WIDEST)
    totals = [[loops.name() for _ in range(sets)] for _ in rows]
    yield from (f"{total} = splat(int32(0), {width * parts})" for total in itertools.chain(*totals))
    body = [f"for i{last} in range({loops.extents[last] // sets}):"]
    for number, (row, total) in itertools.product(range(sets), list(zip(rows, totals, strict=True))):
        point = Point((*row[:axis], "0", *row[axis + 1 : -2], f"(i{last} * {sets} + {number})", "0"))
        body += (f"    {line}" for line in _group(loops, dot, point, total[number], width))
    yield from loops.nest(range(loops.outer, last), body)
    for row, (first, *others) in zip(rows, totals, strict=True):
        yield from (f"{first} = add_integer_vectors({first}, {other})" for other in others)
        sums = loops.name()
        yield f"{sums} = fold_parts({first}, {parts})"
        yield from loops.finish_block(sums, width, row)


def _group(loops: Loops, dot: Dot, point: Point, total: str, width: int) -> Iterator[str]:
    """Four products of every lane."""
    four, shared, own = loops.name(), dot.shared.access, dot.own.access
    yield f"{four} = four_of({shared.buffer}, {point.address(shared)}, {dot.offset})"
    weights = f"load_vector({own.buffer}, {point.address(own)}, {width * DOT})"
    yield f"{total} = add_dots({total}, {four}, {weights})"
