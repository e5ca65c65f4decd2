"""Reductions of float32 in vectors: with an axis of lanes, or spread over lanes themselves."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence

from millstream.targets.tvm.literal import limits, literal, ramp
from millstream.targets.tvm.loops import Index, Loops, filled, indented
from millstream.targets.tvm.point import Point
from millstream_runtime.lanes import loads, tile_axis
from millstream_runtime.program import Expression, item_size

#: What joins two partial results.
COMBINE = {"sum": "add", "product": "multiply", "max": "maximum", "min": "minimum"}
#: Registers of partial results when the reduction itself is spread over lanes.
_ROW_REGISTERS = 2
#: In bytes. Measured with 2 MB of weights: 1 to 4 KB ahead gain an eighth, 8 KB less.
_CACHE_LINE, _PREFETCH_DISTANCE = 64, 2048
# The numbers say: to read, into every cache, data.
_PREFETCH = (
    "T.call_llvm_intrin('void', 'llvm.prefetch', T.address_of({}), T.int32(0), T.int32(3), T.int32(1))"
)


def neutral(kind: str, dtype: str) -> float | int | bool:
    """What a reduction starts from."""
    if kind in ("sum", "product"):
        return int(kind == "product")
    if dtype == "bool":
        return kind == "min"
    if dtype.startswith("float"):
        return float("-inf") if kind == "max" else float("inf")
    return limits(dtype)[0 if kind == "max" else 1]


def block_lines(loops: Loops, operand: Expression, kind: str) -> Iterator[str]:
    """All lanes of the last axis at once, then the value of each."""
    axis = tile_axis(loops.stage, loads(operand))
    yield from loops.tiles(axis, lambda rows: _block(loops, operand, kind, rows))


def _block(loops: Loops, operand: Expression, kind: str, rows: Sequence[Index]) -> Iterator[str]:
    """The lanes at each of several places, which read the same weights."""
    width, sets = loops.extents[loops.outer - 1], loops.sets(loops.extents[loops.outer - 1], -1)
    totals = [[loops.name() for _ in range(sets)] for _ in rows]
    for total in itertools.chain(*totals):
        yield from _started(total, width, kind)
    reduced = range(loops.outer, len(loops.extents) - 1)
    yield from loops.nest(reduced, _innermost(loops, operand, kind, rows, totals))
    for row, (first, *others) in zip(rows, totals, strict=True):
        for other in others:
            yield from _joined(loops, first, f"{other}[{ramp('0', width)}]", width, kind)
        yield from loops.finish_block(first, width, row)


def _innermost(
    loops: Loops, operand: Expression, kind: str, rows: Sequence[Index], totals: Sequence[Sequence[str]]
) -> Iterator[str]:
    """The last loop of the reduction, each set of totals a step further than the one before."""
    axis, last, sets = loops.outer - 1, len(loops.extents) - 1, len(totals[0])
    yield f"for i{last} in range({loops.extents[last] // sets}):"
    for number in range(sets):
        for row, total in zip(rows, totals, strict=True):
            index = (*row[:axis], "0", *row[axis + 1 : -1], f"(i{last} * {sets} + {number})")
            point = Point(loops.names, index, axis, loops.extents[axis])
            yield from indented(_taken(point, total[number], operand, kind))
            if row is rows[0]:
                yield from indented(prefetch(loops, operand, point))


def prefetch(loops: Loops, operand: Expression, point: Point) -> Iterator[str]:
    """Ask for the weights that come a few steps later: they stream past every cache but the last."""
    for load in loads(operand):
        if load.access.buffer in loops.names.constants and load.access.strides[point.axis]:
            size = item_size(load.dtype)
            for line in range(0, point.width * size, _CACHE_LINE):
                element = point.element(load.access, (_PREFETCH_DISTANCE + line) // size)
                yield f"T.evaluate({_PREFETCH.format(element)})"


def row_lines(loops: Loops, operand: Expression, kind: str, axis: int) -> Iterator[str]:
    """Spread over the lanes of `axis`; one point after the other, or a vector of points at once."""
    rows = loops.outer - 1
    if loops.outer and loops.vectors_along(rows):
        finish = functools.partial(_finish_rows, loops, operand, kind, axis)
        yield from loops.nest(range(rows), loops.sweep(rows, 1, finish))
    else:
        body = _finish_row(loops, operand, kind, axis, loops.point())
        yield from loops.nest(range(loops.outer), body)


def _finish_rows(loops: Loops, operand: Expression, kind: str, axis: int, point: Point) -> Iterator[str]:
    """The results of a point, which may be a vector, and their value."""
    if point.width == 1:
        yield from _finish_row(loops, operand, kind, axis, point)
        return
    # Written out row by row, so that every partial result stays in registers.
    lanes, results, vectors = _lanes(loops, axis), loops.name(), []
    for row in range(point.width):
        total, place = loops.name(), f"({point.index[point.axis]} + {row})"
        index = loops.point(point.axis, place, index=point.index).index
        yield from _over_lanes(loops, operand, kind, axis, total, index)
        vectors.append(f"{total}[{ramp('0', lanes)}]")
    yield f"{results} = T.alloc_buffer(({point.width},), 'float32')"
    yield from _fold(loops, vectors, lanes, kind, results)
    yield from loops.store(point, f"{results}[{ramp('0', point.width)}]")


def _fold(loops: Loops, vectors: list[str], lanes: int, kind: str, results: str) -> Iterator[str]:
    """Join the lanes of each vector, all vectors at once, into one result for each.

    The halves of what is left of two results are joined in one vector, as in a tournament, until each lane is
    a result. The order is that of `_finish_row`, so the numbers are the same.
    """
    width, left = lanes, lanes
    while left > 1:
        one = len(vectors) == 1
        pairs = [vectors] if one else list(zip(vectors[::2], vectors[1::2], strict=True))
        width = width // 2 if one else width
        vectors = []
        for pair in pairs:
            name, point = loops.name(), Point(loops.names, (), width=width)
            halves = (_halves(2 * width if one else len(pair) * width, left, half) for half in (0, 1))
            sides = (f"T.Shuffle([{', '.join(pair)}], {lanes})" for lanes in halves)
            joined = point.formulas.call(COMBINE[kind], "float32", "float32", list(sides))
            yield from point.formulas.lines
            yield f"{name} = T.alloc_buffer(({width},), 'float32')"
            yield f"{name}[{ramp('0', width)}] = {joined}"
            vectors.append(f"{name}[{ramp('0', width)}]")
        left //= 2
    for number, vector in enumerate(vectors):
        yield f"{results}[{ramp(str(number * width), width)}] = {vector}"


def _halves(lanes: int, left: int, half: int) -> list[int]:
    """The first or the second half of every `left` of so many lanes."""
    begins = range(half * left // 2, lanes, left)
    return [begin + lane for begin in begins for lane in range(left // 2)]


def _finish_row(loops: Loops, operand: Expression, kind: str, axis: int, point: Point) -> Iterator[str]:
    """The result of one point, its lanes halved until one is left, and its value."""
    total, width = loops.name(), _lanes(loops, axis)
    yield from _over_lanes(loops, operand, kind, axis, total, point.index)
    while width > 1:
        width //= 2
        yield from _joined(loops, total, f"{total}[{ramp(str(width), width)}]", width, kind)
    yield from loops.store(point, f"{total}[0]")


def _lanes(loops: Loops, axis: int) -> int:
    """Lanes of the partial results along an axis."""
    return 1 << (min(loops.extents[axis], loops.lanes).bit_length() - 1)


def _over_lanes(
    loops: Loops, operand: Expression, kind: str, axis: int, total: str, index: Index
) -> Iterator[str]:
    """Partial results in the lanes of `total`."""
    lanes = _lanes(loops, axis)
    width = 1 << (min(loops.extents[axis], loops.lanes * _ROW_REGISTERS).bit_length() - 1)
    yield from _started(total, width, kind)
    others = [other for other in range(loops.outer, len(loops.extents)) if other != axis]

    def take(point: Point) -> Iterator[str]:
        yield from loops.keep(point)
        yield from _taken(point, total, operand, kind)

    yield from loops.nest(others, loops.sweep(axis, _ROW_REGISTERS, take, index))
    if width > lanes:
        yield from _joined(loops, total, f"{total}[{ramp(str(lanes), lanes)}]", lanes, kind)


def _started(total: str, width: int, kind: str) -> Iterator[str]:
    return filled(total, width, literal(neutral(kind, "float32"), "float32"), "float32")


def _taken(point: Point, total: str, operand: Expression, kind: str) -> Iterator[str]:
    """The term at `point` into as many of the totals."""
    term = point.text(operand)
    yield from _combined(point, total, term, kind)


def _joined(loops: Loops, total: str, term: str, width: int, kind: str) -> Iterator[str]:
    """A vector of results into the first `width` totals."""
    yield from _combined(Point(loops.names, (), width=width), total, term, kind)


def _combined(point: Point, total: str, term: str, kind: str) -> Iterator[str]:
    place = f"{total}[{ramp('0', point.width)}]"
    value = point.formulas.call(COMBINE[kind], "float32", "float32", [place, term])
    yield from point.formulas.lines
    yield f"{place} = {value}"
