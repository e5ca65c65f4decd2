"""The loops of one stage in TVMScript: nests, sweeps of one axis in vectors, and stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from millstream.targets.tvm.formulas import has_vector_form
from millstream.targets.tvm.literal import ramp, splat
from millstream.targets.tvm.point import Names, Point
from millstream_runtime.lanes import MIN_LANES, chunks
from millstream_runtime.program import Access, Expression, Stage

#: Registers of totals that hide the time of one addition.
_REGISTERS = 4

Lines = Iterable[str]
Index = Sequence[str]


class Loops:
    """One stage, and the texts of its running indices.

    `lanes` float32 fill one vector register; the totals of `rows` blocks of lanes fit into all of them.
    """

    def __init__(self, stage: Stage, names: Names, lanes: int, rows: int) -> None:
        self.stage = stage
        self.names = names
        self.lanes = lanes
        self.rows = rows
        self.outer = len(stage.extents)
        self.extents = stage.extents + (stage.reduction.extents if stage.reduction else ())
        self.index = tuple(f"i{axis}" if extent > 1 else "0" for axis, extent in enumerate(self.extents))

    def nest(self, axes: Iterable[int], body: Lines) -> Iterator[str]:
        """Loops over `axes` around `body`; an axis of one point needs none."""
        indent = ""
        for axis in axes:
            if self.extents[axis] > 1:
                yield f"{indent}for i{axis} in range({self.extents[axis]}):"
                indent += "    "
        for line in body:
            yield indent + line

    def sweep(
        self, axis: int, registers: int, body: Callable[[Point], Lines], index: Index | None = None
    ) -> Iterator[str]:
        """Every point of one axis, the others at `index`: in vectors, then what is left one by one."""
        for start, count, width in chunks(self.extents[axis], self.lanes, registers):
            count, width = (count, width) if width >= MIN_LANES else (count * width, 1)
            yield f"for i{axis} in range({count}):"
            point = self.point(axis, f"(i{axis} * {width} + {start})", width, index)
            yield from indented(body(point))

    def tiles(self, axis: int | None, body: Callable[[Sequence[Index]], Lines]) -> Iterator[str]:
        """Every point of all outer axes but the lanes, those of `axis` several at a time.

        `body` is given the indices of all that it is to do at once.
        """
        others = [other for other in range(self.outer - 1) if other != axis]
        yield from self.nest(others, body([self.index]) if axis is None else self._tiles(axis, body))

    def _tiles(self, axis: int, body: Callable[[Sequence[Index]], Lines]) -> Iterator[str]:
        whole, rest = divmod(self.extents[axis], self.rows)
        if whole:
            yield f"for i{axis} in range({whole}):"
            places = (f"(i{axis} * {self.rows} + {row})" for row in range(self.rows))
            yield from indented(body([self._at(axis, place) for place in places]))
        if rest:
            yield from body([self._at(axis, str(whole * self.rows + row)) for row in range(rest)])

    def _at(self, axis: int, place: str) -> Index:
        return (*self.index[:axis], place, *self.index[axis + 1 :])

    def point(self, axis: int = -1, first: str = "", width: int = 1, index: Index | None = None) -> Point:
        """The point at `index`, by default the loops' own, but for `axis`, which is at `first`."""
        texts = enumerate(index or self.index)
        return Point(self.names, tuple(first if k == axis else text for k, text in texts), axis, width)

    def store(self, point: Point, total: str = "") -> Iterator[str]:
        """The value stored; `total` is the result of the reduction."""
        return _stored(point, self.stage.value, self.stage.target, total)

    def keep(self, point: Point) -> Iterator[str]:
        """What the reduction keeps at a point, stored."""
        kept = self.stage.reduction and self.stage.reduction.kept
        if kept:
            # A point of its own: the lines of one are used once.
            own = Point(self.names, point.index, point.axis, point.width)
            yield from _stored(own, kept.value, kept.target)

    def vectors_along(self, axis: int) -> bool:
        """True when the value can be stored as vectors along `axis`."""
        widest = min(self.stage.extents[axis], self.lanes)
        wide = widest >= MIN_LANES and self.stage.target.strides[axis] == 1
        return wide and has_vector_form(self.stage.value)

    def finish_block(self, total: str, width: int, index: Index) -> Iterator[str]:
        """The value of every lane of the last axis at `index`, whose results lie in `total`."""
        axis = self.outer - 1
        if self.vectors_along(axis):
            yield from self.store(self.point(axis, "0", width, index), f"{total}[{ramp('0', width)}]")
        else:
            yield from self.nest([axis], self.store(self.point(index=index), f"{total}[{index[axis]}]"))

    def sets(self, width: int, axis: int) -> int:
        """Sets of `width` totals that keep the arithmetic units busy when one alone does not; they take turns
        on the points of a reduction axis."""
        fits = (n for n in (8, 4, 2) if n * width <= _REGISTERS * self.lanes and self.extents[axis] % n == 0)
        return next(fits, 1)

    def name(self) -> str:
        """A new name."""
        return f"t{self.names.count()}"


def _stored(point: Point, value: Expression, target: Access, total: str = "") -> Iterator[str]:
    text, place = point.text(value, total), point.place(target, total)
    yield from point.formulas.lines
    yield f"{place} = " + (f"T.Cast('uint8', {text})" if value.dtype == "bool" else text)


def stored(dtype: str) -> str:
    """The dtype under which elements lie in memory."""
    return "uint8" if dtype == "bool" else dtype


def filled(name: str, width: int, value: str, dtype: str) -> Iterator[str]:
    """A new buffer of one value."""
    yield f"{name} = T.alloc_buffer(({width},), '{dtype}')"
    yield f"{name}[{ramp('0', width)}] = {splat(value, width)}"


def indented(lines: Lines) -> Iterator[str]:
    return ("    " + line for line in lines)
