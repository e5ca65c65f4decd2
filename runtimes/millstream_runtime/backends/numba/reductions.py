"""Reductions of float32 in vectors: with an axis of lanes, or spread over lanes themselves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from millstream_runtime.backends.numba.expression import Point, neutral
from millstream_runtime.backends.numba.loops import Index, Loops
from millstream_runtime.lanes import MIN_LANES, chunks, loads, tile_axis
from millstream_runtime.program import Call, Expression, item_size

#: What joins two partial results.
COMBINE = {"sum": "add", "product": "multiply", "max": "maximum", "min": "minimum"}
#: The widest vectors of totals; LLVM cuts them into the registers that the CPU has.
_WIDEST = 64
#: Elements of a reduction that is spread over lanes, at a time.
_ROW_WIDTH = 32
#: So many results wait on the stack for the loop that makes values of them, which LLVM turns into vectors.
_MOST_ROWS = 1024
#: In bytes, as in the TVM printer.
_PREFETCH_DISTANCE = 2048


def block_lines(loops: Loops, operand: Expression, kind: str) -> Iterator[str]:
    """All lanes of the last axis at once, then the value of each."""
    axis = tile_axis(loops.stage, loads(operand))
    yield from loops.tiles(axis, lambda rows: _block(loops, operand, kind, rows))


def _block(loops: Loops, operand: Expression, kind: str, rows: Sequence[Index]) -> Iterator[str]:
    """The lanes at each of several places, which read the same weights."""
    axis, last, width = loops.outer - 1, len(loops.extents) - 1, loops.extents[loops.outer - 1]
    sets = loops.sets(width, last, _WIDEST)
    totals = [[loops.name() for _ in range(sets)] for _ in rows]
    for total in itertools.chain(*totals):
        yield f"{total} = splat({neutral(kind, 'float32')}, {width})"
    body = [f"for i{last} in range({loops.extents[last] // sets}):"]
    for number, (row, total) in itertools.product(range(sets), list(zip(rows, totals, strict=True))):
        point = Point((*row[:axis], "0", *row[axis + 1 : -1], f"(i{last} * {sets} + {number})"))
        body.append(f"    {taken(kind, total[number], point, operand, axis, width)}")
        if row is rows[0]:
            body += (f"    {line}" for line in _prefetch(loops, operand, point, width))
    yield from loops.nest(range(loops.outer, last), body)
    for row, (first, *others) in zip(rows, totals, strict=True):
        yield from (f"{first} = {_joined(kind, first, other)}" for other in others)
        yield from loops.finish_block(first, width, row)


def _prefetch(loops: Loops, operand: Expression, point: Point, width: int) -> Iterator[str]:
    """Ask for the weights that come a few steps later: they stream past every cache but the last."""
    for load in loads(operand):
        if load.access.buffer in loops.constants and load.access.strides[loops.outer - 1]:
            size = item_size(load.dtype)
            place = f"{point.address(load.access)} + {_PREFETCH_DISTANCE // size}"
            yield f"prefetch({load.access.buffer}, {place}, {width * size})"


def row_lines(loops: Loops, operand: Expression, kind: str, axis: int) -> Iterator[str]:
    """Spread over the lanes of `axis`, one point after the other."""
    total, rows = loops.name(), loops.outer - 1
    one = list(_over_lanes(loops, operand, kind, axis, total))
    if not loops.outer or not MIN_LANES <= loops.extents[rows] <= _MOST_ROWS:
        yield from loops.nest(range(loops.outer), [*one, loops.store(total)])
        return
    room, row = loops.name(), loops.index[rows]
    body = [
        f"{room} = room_for(float32(0), {loops.extents[rows]})",
        *loops.nest([rows], [*one, f"{room}[{row}] = {total}"]),
        *loops.nest([rows], [loops.store(f"{room}[{row}]")]),
    ]
    yield from loops.nest(range(rows), body)


def _over_lanes(loops: Loops, operand: Expression, kind: str, axis: int, total: str) -> Iterator[str]:
    """Partial results in vectors, whose lanes are joined at the end."""
    yield from loops.keep()
    yield f"{total} = {neutral(kind, 'float32')}"
    body: list[str] = []
    partial: dict[str, int] = {}
    for start, count, width in chunks(loops.extents[axis], _ROW_WIDTH, 1):
        stop = start + count * width
        if width < MIN_LANES:
            point = loops.point()
            body.append(f"for i{axis} in range({start}, {stop}):")
            body.append(f"    {total} = {_joined_scalar(kind, total, point.text(operand))}")
            continue
        name = loops.name()
        partial[name] = width
        body.append(f"for i{axis} in range({start}, {stop}, {width}):")
        body.append(f"    {taken(kind, name, loops.point(axis, f'i{axis}'), operand, axis, width)}")
    yield from (f"{name} = splat({neutral(kind, 'float32')}, {width})" for name, width in partial.items())
    yield from loops.nest((k for k in range(loops.outer, len(loops.extents)) if k != axis), body)
    for name in partial:
        yield f"{total} = {_joined_scalar(kind, total, f'{kind}_of_vector({name})')}"


def taken(kind: str, total: str, point: Point, operand: Expression, axis: int, width: int) -> str:
    """One more vector of terms into a vector of totals."""
    match operand:
        case Call(operation="multiply", operands=(x, y)) if kind == "sum":
            product = f"{point.vector(x, axis, width)}, {point.vector(y, axis, width)}"
            return f"{total} = accumulate_product({total}, {product})"
    return f"{total} = {_joined(kind, total, point.vector(operand, axis, width))}"


def _joined(kind: str, total: str, term: str) -> str:
    """Two vectors of partial results as one."""
    return f"accumulate({total}, {term})" if kind == "sum" else f"{COMBINE[kind]}_vectors({total}, {term})"


def _joined_scalar(kind: str, total: str, term: str) -> str:
    return f"accumulate({total}, {term})" if kind == "sum" else f"{COMBINE[kind]}({total}, {term})"
