"""Reductions of float32 in vectors: with an axis of lanes, or spread over lanes themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from millstream_runtime.kernels.assembler import Index, Value, Variable
from millstream_runtime.kernels.loops import Loops
from millstream_runtime.kernels.point import Point
from millstream_runtime.lanes import loads, tile_axis
from millstream_runtime.program import Expression, item_size, neutral

_F = "float32"
#: What joins two partial results.
COMBINE = {"sum": "add", "product": "multiply", "max": "maximum", "min": "minimum"}
#: Registers of partial results when the reduction itself is spread over lanes.
_ROW_REGISTERS = 2
#: In bytes. Measured with 2 MB of weights: 1 to 4 KB ahead gain an eighth, 8 KB less.
_PREFETCH_DISTANCE = 2048


def write_block(loops: Loops, operand: Expression, kind: str) -> None:
    """All lanes of the last axis at once, then the value of each."""
    axis = tile_axis(loops.stage, loads(operand))
    loops.tiles(axis, lambda rows: _write_block(loops, operand, kind, rows))


def _write_block(loops: Loops, operand: Expression, kind: str, rows: Sequence[Point]) -> None:
    """The lanes at each of several points, which read the same weights."""
    axis, width, last = loops.outer - 1, loops.extents[loops.outer - 1], len(loops.extents) - 1
    sets = loops.sets(width, last)
    totals = [[_started(loops, kind, width) for _ in range(sets)] for _ in rows]

    def take(number: int, step: tuple[Index, ...]) -> None:
        for row, total in zip(rows, totals, strict=True):
            point = Point(loops.write, (*row.index[: loops.outer], *step), axis, width)
            _take(loops, point, total[number], operand, kind)
            if row is rows[0]:
                _prefetch(loops, point, operand)

    loops.take_turns(last, sets, take)
    for row, (first, *others) in zip(rows, totals, strict=True):
        for other in others:
            first.set(_joined(loops, kind, first.get(), other.get(), width))
        loops.finish_block(row, first.get(), _F)


def _prefetch(loops: Loops, point: Point, operand: Expression) -> None:
    """Ask for the weights that come a few steps later: they stream past every cache but the last."""
    for load in dict.fromkeys(loads(operand)):
        if load.access.buffer in loops.write.constants and load.access.strides[point.axis]:
            size = item_size(load.dtype)
            address = point.address(load.access, load.dtype)
            further = replace(address, index=address.index.plus(_PREFETCH_DISTANCE // size))
            loops.write.prefetch(further, point.width * size)


def write_rows(loops: Loops, operand: Expression, kind: str, axis: int) -> None:
    """Spread over the lanes of `axis`; one point after the other, or a vector of points at once."""
    rows = loops.outer - 1
    if loops.outer and loops.vectors_along(rows):
        with loops.nest(range(rows), loops.origin) as point:
            loops.sweep(rows, 1, point, lambda some: _write_rows(loops, operand, kind, axis, some))
    else:
        with loops.nest(range(loops.outer), loops.origin) as point:
            _write_rows(loops, operand, kind, axis, point)


def _write_rows(loops: Loops, operand: Expression, kind: str, axis: int, point: Point) -> None:
    """The results of a point, which may be a vector, and their values.

    Written out point by point, so that every partial result stays in registers.
    """
    lanes, vectors = _lanes(loops, axis), []
    for row in range(point.width):
        one = Point(loops.write, point.index)
        if point.width > 1:
            one = one.at(point.axis, point.index[point.axis].plus(row))
        vectors.append(_over_lanes(loops, operand, kind, axis, one))
    loops.store(point, _folded(loops, vectors, lanes, kind))


def _folded(loops: Loops, vectors: list[Value], lanes: int, kind: str) -> Value:
    """Join the lanes of each vector, all vectors at once, into one result for each: one vector of results.

    The halves of what is left of two results are joined in one vector, as in a tournament. The lanes of a
    result are joined in the same order whether it is alone or not, so the numbers are the same.
    """
    width, left = lanes, lanes
    while left > 1:
        alone = len(vectors) == 1
        pairs = [vectors] if alone else list(zip(vectors[::2], vectors[1::2], strict=True))
        halves = [_halves(width if alone else 2 * width, left, half) for half in (0, 1)]
        before, width = width, width // 2 if alone else width
        vectors = []
        for pair in pairs:
            low, high = (loops.write.shuffle(pair, half, _F, before) for half in halves)
            vectors.append(loops.write.bind(_joined(loops, kind, low, high, width), _F, width))
        left //= 2
    return vectors[0] if len(vectors) == 1 else loops.write.joined(vectors, _F, width)


def _halves(lanes: int, left: int, half: int) -> list[int]:
    """The first or the second half of every `left` of so many lanes."""
    begins = range(half * left // 2, lanes, left)
    return [begin + lane for begin in begins for lane in range(left // 2)]


def _lanes(loops: Loops, axis: int) -> int:
    """Lanes of the partial results along an axis."""
    return 1 << (min(loops.extents[axis], loops.write.machine.lanes).bit_length() - 1)


def _over_lanes(loops: Loops, operand: Expression, kind: str, axis: int, point: Point) -> Value:
    """Partial results of one point, in lanes."""
    lanes, most = _lanes(loops, axis), loops.write.machine.lanes * _ROW_REGISTERS
    width = 1 << (min(loops.extents[axis], most).bit_length() - 1)
    total = _started(loops, kind, width)
    others = [other for other in range(loops.outer, len(loops.extents)) if other != axis]

    def take(term: Point) -> None:
        kept = loops.keep(term)
        _take(loops, term, total, operand, kind, kept)

    with loops.nest(others, point) as term:
        loops.sweep(axis, _ROW_REGISTERS, term, take)
    value = total.get()
    if width == lanes:
        return value
    low, high = (loops.write.shuffle([value], _halves(width, width, half), _F, width) for half in (0, 1))
    return loops.write.bind(_joined(loops, kind, low, high, lanes), _F, lanes)


def _started(loops: Loops, kind: str, width: int) -> Variable:
    return loops.write.variable(loops.write.number(neutral(kind, _F), _F, width), _F, width)


def _take(
    loops: Loops, point: Point, total: Variable, operand: Expression, kind: str, kept: Value | None = None
) -> None:
    """The term at a point into as many lanes of the total; `kept` is what `Loops.keep` gave."""
    lanes = point.width
    total.set(_joined(loops, kind, total.get(lanes), point.value(operand, kept), lanes), lanes)


def _joined(loops: Loops, kind: str, x: Value, y: Value, width: int) -> Value:
    return loops.write.call(COMBINE[kind], _F, _F, [x, y], width)
