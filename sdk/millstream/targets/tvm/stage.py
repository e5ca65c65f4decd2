"""One stage as a loop nest in TVMScript, in the form that suits it.

A map takes vectors along one axis. A sum either has an axis of lanes (see `blocks`), each with its own
total, or is itself spread over lanes; the value that finishes it is a vector again. What has no vector form
is done element by element.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence

from millstream.targets.tvm.formulas import has_vector_form
from millstream.targets.tvm.literal import limits, literal, ramp, splat
from millstream.targets.tvm.point import Names, Point
from millstream_runtime.lanes import MIN_LANES, chunks, is_blocked, loads, sum_axis, vector_operand
from millstream_runtime.program import Expression, Stage

_LOOP = {"sum": "add", "product": "multiply", "max": "maximum", "min": "minimum"}
#: Registers of partial sums when the sum itself is spread over lanes.
_SUM_REGISTERS = 2
#: In float32. Measured with 2 MB of weights: 1 to 4 KB ahead gain an eighth, 8 KB less.
_CACHE_LINE, _PREFETCH_DISTANCE = 16, 512
# The numbers say: to read, into every cache, data.
_PREFETCH = (
    "T.call_llvm_intrin('void', 'llvm.prefetch', T.address_of({}), T.int32(0), T.int32(3), T.int32(1))"
)

Lines = Iterable[str]
Index = Sequence[str]


class StagePrinter:
    """Prints one stage; `lanes` float32 fill one vector register."""

    def __init__(self, stage: Stage, names: Names, lanes: int) -> None:
        self.stage = stage
        self.names = names
        self.lanes = lanes
        self.outer = len(stage.extents)
        self.extents = stage.extents + (stage.reduction.extents if stage.reduction else ())
        self.index = tuple(f"i{axis}" if extent > 1 else "0" for axis, extent in enumerate(self.extents))

    def lines(self) -> Iterator[str]:
        """The whole loop nest."""
        operand = vector_operand(self.stage)
        if self.stage.reduction is None:
            yield from self._map()
        elif operand is not None and is_blocked(self.stage):
            yield from self._nest(range(self.outer - 1), self._block(operand))
        elif operand is not None and (axis := sum_axis(self.stage)) is not None:
            yield from self._rows(axis, operand)
        else:
            yield from self._nest(range(self.outer), self._serial())

    def _nest(self, axes: Iterable[int], body: Lines) -> Iterator[str]:
        """Loops over `axes` around `body`; an axis of one point needs none."""
        indent = ""
        for axis in axes:
            if self.extents[axis] > 1:
                yield f"{indent}for i{axis} in range({self.extents[axis]}):"
                indent += "    "
        for line in body:
            yield indent + line

    def _sweep(
        self, axis: int, registers: int, body: Callable[[Point], Lines], index: Index | None = None
    ) -> Iterator[str]:
        """Every point of one axis, the others at `index`: in vectors, then what is left one by one."""
        for start, count, width in chunks(self.extents[axis], self.lanes, registers):
            count, width = (count, width) if width >= MIN_LANES else (count * width, 1)
            yield f"for i{axis} in range({count}):"
            point = self._point(axis, f"(i{axis} * {width} + {start})", width, index)
            yield from _indented(body(point))

    def _point(self, axis: int = -1, first: str = "", width: int = 1, index: Index | None = None) -> Point:
        """The point at `index`, by default the loops' own, but for `axis`, which is at `first`."""
        texts = enumerate(index or self.index)
        return Point(self.names, tuple(first if k == axis else text for k, text in texts), axis, width)

    def _store(self, point: Point, total: str = "") -> Iterator[str]:
        """The value stored; `total` is the result of the reduction."""
        value = point.text(self.stage.value, total)
        place = point.place(self.stage.target, total)
        yield from point.formulas.lines
        yield f"{place} = " + (f"T.Cast('uint8', {value})" if self.stage.value.dtype == "bool" else value)

    def _vectors_along(self, axis: int) -> bool:
        """True when the value can be stored as vectors along `axis`."""
        wide = self.stage.extents[axis] >= MIN_LANES and self.stage.target.strides[axis] == 1
        return wide and self.stage.value.dtype == "float32" and has_vector_form(self.stage.value)

    def _map(self) -> Iterator[str]:
        axis = next((axis for axis in reversed(range(self.outer)) if self._vectors_along(axis)), None)
        if axis is None:
            return self._nest(range(self.outer), self._store(self._point()))
        others = [other for other in range(self.outer) if other != axis]
        return self._nest(others, self._sweep(axis, 1, self._store))

    def _block(self, operand: Expression) -> Iterator[str]:
        """All lanes of the last axis at once, then the value of each."""
        axis, width = self.outer - 1, self.extents[self.outer - 1]
        totals = [self._name() for _ in range(self._accumulators(width))]
        for total in totals:
            yield from _zeros(total, width)
        yield from self._nest(
            range(self.outer, len(self.extents) - 1), self._innermost(operand, totals, width)
        )
        for other in totals[1:]:
            yield _add(totals[0], f"{other}[{ramp('0', width)}]", width)
        if self._vectors_along(axis):
            yield from self._store(self._point(axis, "0", width), f"{totals[0]}[{ramp('0', width)}]")
        else:
            yield from self._nest([axis], self._store(self._point(), f"{totals[0]}[{self.index[axis]}]"))

    def _accumulators(self, width: int) -> int:
        """Sets of sums that keep the adders busy when one block alone does not."""
        innermost = self.extents[-1]
        return next(n for n in (8, 4, 2, 1) if (n * width <= 8 * self.lanes and innermost % n == 0) or n == 1)

    def _innermost(self, operand: Expression, totals: Sequence[str], width: int) -> Iterator[str]:
        """The last loop of the reduction, each set of sums a step further than the one before."""
        last, sets = len(self.extents) - 1, len(totals)
        yield f"for i{last} in range({self.extents[last] // sets}):"
        for number, total in enumerate(totals):
            index = (*self.index[: self.outer - 1], "0", *self.index[self.outer : -1])
            point = Point(self.names, (*index, f"(i{last} * {sets} + {number})"), self.outer - 1, width)
            yield "    " + _add(total, point.text(operand), width)
            yield from _indented(self._prefetch(operand, point))

    def _prefetch(self, operand: Expression, point: Point) -> Iterator[str]:
        """Ask for the weights that come a few steps later: they stream past every cache but the last."""
        for load in loads(operand):
            if load.access.buffer in self.names.constants and load.access.strides[point.axis]:
                for line in range(0, point.width, _CACHE_LINE):
                    element = point.element(load.access, _PREFETCH_DISTANCE + line)
                    yield f"T.evaluate({_PREFETCH.format(element)})"

    def _rows(self, axis: int, operand: Expression) -> Iterator[str]:
        """Sums spread over lanes, one point after the other; their values as vectors where that can be."""
        rows = self.outer - 1
        if self.outer and self._vectors_along(rows):
            finish = functools.partial(self._finish_rows, axis, operand)
            yield from self._nest(range(rows), self._sweep(rows, 1, finish))
        else:
            yield from self._nest(range(self.outer), self._finish_rows(axis, operand, self._point()))

    def _finish_rows(self, axis: int, operand: Expression, point: Point) -> Iterator[str]:
        """The sums of a point, which may be a vector, and their value."""
        total = self._name()
        if point.width == 1:
            yield from self._sum_over_lanes(axis, operand, total, point.index)
            yield from self._store(point, f"{total}[0]")
            return
        sums, row = self._name(), self._name()
        yield f"{sums} = T.alloc_buffer(({point.width},), 'float32')"
        yield f"for {row} in range({point.width}):"
        place = f"({point.index[point.axis]} + {row})"
        index = self._point(point.axis, place, index=point.index).index
        yield from _indented(self._sum_over_lanes(axis, operand, total, index))
        yield f"    {sums}[{row}] = {total}[0]"
        yield from self._store(point, f"{sums}[{ramp('0', point.width)}]")

    def _sum_over_lanes(self, axis: int, operand: Expression, total: str, index: Index) -> Iterator[str]:
        """Partial sums in lanes, halved until `total[0]` is left."""
        width = 1 << (min(self.extents[axis], self.lanes * _SUM_REGISTERS).bit_length() - 1)
        yield from _zeros(total, width)

        def add(point: Point) -> Iterator[str]:
            yield _add(total, point.text(operand), point.width)

        others = [other for other in range(self.outer, len(self.extents)) if other != axis]
        yield from self._nest(others, self._sweep(axis, _SUM_REGISTERS, add, index))
        while width > 1:
            width //= 2
            yield _add(total, f"{total}[{ramp(str(width), width)}]", width)

    def _serial(self) -> Iterator[str]:
        """The reduction and the value of one point, whatever the dtype."""
        reduction = self.stage.reduction
        if reduction is None:
            return
        dtype, name, point = reduction.operand.dtype, self._name(), self._point()
        total = f"{name}[0]" if dtype != "bool" else f"({name}[0] != T.uint8(0))"
        operand = point.text(reduction.operand)
        combined = point.formulas.call(_LOOP[reduction.kind], dtype, dtype, [total, operand])
        start = literal(_neutral(reduction.kind, dtype), dtype)
        if dtype == "bool":
            start, combined = f"T.Cast('uint8', {start})", f"T.Cast('uint8', {combined})"
        yield f"{name} = T.alloc_buffer((1,), '{stored(dtype)}')"
        yield f"{name}[0] = {start}"
        body = [*point.formulas.lines, f"{name}[0] = {combined}"]
        yield from self._nest(range(self.outer, len(self.extents)), body)
        yield from self._store(self._point(), total)

    def _name(self) -> str:
        return f"t{self.names.count()}"


def stored(dtype: str) -> str:
    """The dtype under which elements lie in memory."""
    return "uint8" if dtype == "bool" else dtype


def _neutral(kind: str, dtype: str) -> float | int | bool:
    """What a reduction starts from."""
    if kind in ("sum", "product"):
        return int(kind == "product")
    if dtype == "bool":
        return kind == "min"
    if dtype.startswith("float"):
        return float("-inf") if kind == "max" else float("inf")
    return limits(dtype)[0 if kind == "max" else 1]


def _zeros(total: str, width: int) -> Iterator[str]:
    """A new buffer of zeros."""
    yield f"{total} = T.alloc_buffer(({width},), 'float32')"
    yield f"{total}[{ramp('0', width)}] = {splat('T.float32(0)', width)}"


def _add(total: str, term: str, width: int) -> str:
    """total += term on the first `width` lanes."""
    place = f"{total}[{ramp('0', width)}]"
    return f"{place} = {place} + {term}"


def _indented(lines: Lines) -> Iterator[str]:
    return ("    " + line for line in lines)
