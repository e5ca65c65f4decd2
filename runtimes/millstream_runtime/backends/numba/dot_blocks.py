"""Blocked dot products of int8 as lines of Python."""

from __future__ import annotations

from collections.abc import Iterator

from millstream_runtime.backends.numba.expression import Point
from millstream_runtime.backends.numba.loops import Loops
from millstream_runtime.lanes import DOT, Dot

#: The widest vectors of totals; LLVM cuts them into the registers that the CPU has.
_WIDEST = 128


def dot_block_lines(loops: Loops, dot: Dot, parts: int) -> Iterator[str]:
    """All lanes of the last axis at once, then the value of each; `parts` sums are kept for each lane."""
    yield from loops.nest(range(loops.outer - 1), _block(loops, dot, parts))


def _block(loops: Loops, dot: Dot, parts: int) -> Iterator[str]:
    axis, last, width = loops.outer - 1, len(loops.extents) - 2, loops.extents[loops.outer - 1]
    sets = loops.sets(width * parts, last, _WIDEST)
    totals = [loops.name() for _ in range(sets)]
    yield from (f"{total} = splat(int32(0), {width * parts})" for total in totals)
    body = [f"for i{last} in range({loops.extents[last] // sets}):"]
    for number, total in enumerate(totals):
        group = f"(i{last} * {sets} + {number})"
        point = Point((*loops.index[:axis], "0", *loops.index[axis + 1 : -2], group, "0"))
        four, own = loops.name(), point.address(dot.own.access)
        place = point.address(dot.shared.access)
        body.append(f"    {four} = four_of({dot.shared.access.buffer}, {place}, {dot.offset})")
        weights = f"load_vector({dot.own.access.buffer}, {own}, {width * DOT})"
        body.append(f"    {total} = add_dots({total}, {four}, {weights})")
    yield from loops.nest(range(loops.outer, last), body)
    yield from (f"{totals[0]} = add_integer_vectors({totals[0]}, {other})" for other in totals[1:])
    sums = loops.name()
    yield f"{sums} = fold_parts({totals[0]}, {parts})"
    yield from loops.finish_block(sums, width)
