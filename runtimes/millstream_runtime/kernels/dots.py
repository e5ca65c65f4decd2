"""Blocked dot products of int8: every lane has four neighbouring products to add up at a time.

One instruction may do all of it, or leave several partial sums for each lane, which are added once, at the
end.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from millstream_runtime.kernels.assembler import Index, Value, Variable
from millstream_runtime.kernels.loops import Loops
from millstream_runtime.kernels.point import Point
from millstream_runtime.lanes import DOT, Dot, tile_axis

_I = "int32"


def write_dot_block(loops: Loops, dot: Dot) -> None:
    """All lanes of the last axis at once, then the value of each."""
    axis = tile_axis(loops.stage, dot.loads)
    loops.tiles(axis, lambda rows: _write_block(loops, dot, rows))


def _write_block(loops: Loops, dot: Dot, rows: Sequence[Point]) -> None:
    """The lanes at each of several points, which read the same weights."""
    machine, width, last = loops.write.machine, loops.extents[loops.outer - 1], len(loops.extents) - 2
    lanes = min(width, machine.dot_lanes)
    sums = lanes * machine.dot_parts
    sets = loops.sets(width * machine.dot_parts, last)
    totals = [[[_zero(loops, sums) for _ in range(0, width, lanes)] for _ in range(sets)] for _ in rows]

    def take(number: int, step: tuple[Index, ...]) -> None:
        for row, total in zip(rows, totals, strict=True):
            point = Point(loops.write, (*row.index[: loops.outer], *step))
            _take_group(loops, dot, point, total[number], lanes)

    loops.take_turns(last, sets, take)
    for row, total in zip(rows, totals, strict=True):
        parts = [_added(loops, [part.get() for part in one], sums) for one in zip(*total, strict=True)]
        folded = [_fold_parts(loops, part, sums) for part in parts]
        result = folded[0] if len(folded) == 1 else loops.write.joined(folded, _I, lanes)
        loops.finish_block(row, loops.write.bind(result, _I, width), _I)


def _zero(loops: Loops, width: int) -> Variable:
    return loops.write.variable(loops.write.number(0, _I, width), _I, width)


def _take_group(loops: Loops, dot: Dot, point: Point, totals: Sequence[Variable], lanes: int) -> None:
    """Four products of every lane, for each weight in a byte."""
    axis, last = loops.outer - 1, len(loops.extents) - 1
    for part, shared in enumerate(dot.shared):
        four = loops.write.four(point.address(shared.access, "int8"), dot.offset)
        for number, total in enumerate(totals):
            own = point.at(axis, Index(number * lanes)).along(last, lanes * DOT)
            total.set(loops.write.dot(total.get(), four, own.value(dot.weight(part)), lanes))


def _fold_parts(loops: Loops, sums: Value, width: int) -> Value:
    """One sum for each lane."""
    parts = loops.write.machine.dot_parts
    if parts == 1:
        return sums
    places = (list(range(part, width, parts)) for part in range(parts))
    return _added(loops, [loops.write.shuffle([sums], lanes, _I, width) for lanes in places], width // parts)


def _added(loops: Loops, values: Sequence[Value], width: int) -> Value:
    added = reduce(lambda x, y: loops.write.call("add", _I, _I, [x, y], width), values)
    return loops.write.bind(added, _I, width)
