"""The loops of one stage as lines of Python: nests, points and stores."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from millstream_runtime.backends.numba.expression import Point
from millstream_runtime.program import Access, Expression, Stage

Index = Sequence[str]
#: So many products with the same weights are computed at once, as many as the registers of AVX-512 hold.
_ROWS = 4


class Loops:
    """One stage, and the texts of its running indices; `constants` are the buffers that never change."""

    def __init__(self, stage: Stage, constants: frozenset[str]) -> None:
        self.stage = stage
        self.constants = constants
        self.outer = len(stage.extents)
        self.extents = stage.extents + (stage.reduction.extents if stage.reduction else ())
        self.index = tuple(f"i{axis}" if extent > 1 else "0" for axis, extent in enumerate(self.extents))
        self._numbers = itertools.count()

    def nest(self, axes: Iterable[int], body: Iterable[str]) -> Iterator[str]:
        """Loops over `axes` around `body`; an axis of one point needs none."""
        indent = ""
        for axis in axes:
            if self.extents[axis] > 1:
                yield f"{indent}for i{axis} in range({self.extents[axis]}):"
                indent += "    "
        for line in body:
            yield indent + line

    def point(self, axis: int = -1, first: str = "", total: str = "") -> Point:
        """The point at the loops' indices, with `axis` at `first`; `total` is the result of the reduction."""
        index = tuple(first if other == axis else text for other, text in enumerate(self.index))
        return Point(index, total)

    def store(self, total: str = "") -> str:
        """The value stored."""
        return _stored(self.point(total=total), self.stage.value, self.stage.target)

    def tiles(self, axis: int | None, body: Callable[[Sequence[Index]], Iterable[str]]) -> Iterator[str]:
        """Every point of all outer axes but the lanes, those of `axis` several at a time.

        `body` is given the indices of all that it is to do at once.
        """
        others = [other for other in range(self.outer - 1) if other != axis]
        yield from self.nest(others, body([self.index]) if axis is None else self._tiles(axis, body))

    def _tiles(self, axis: int, body: Callable[[Sequence[Index]], Iterable[str]]) -> Iterator[str]:
        whole, rest = divmod(self.extents[axis], _ROWS)
        if whole:
            yield f"for i{axis} in range({whole}):"
            places = (f"(i{axis} * {_ROWS} + {row})" for row in range(_ROWS))
            yield from ("    " + line for line in body([self._at(axis, place) for place in places]))
        if rest:
            yield from body([self._at(axis, str(whole * _ROWS + row)) for row in range(rest)])

    def _at(self, axis: int, place: str) -> Index:
        return (*self.index[:axis], place, *self.index[axis + 1 :])

    def keep(self) -> Iterator[str]:
        """What the reduction keeps, stored in a loop of its own, of which LLVM makes vectors."""
        kept = self.stage.reduction and self.stage.reduction.kept
        if kept:
            store = _stored(self.point(), kept.value, kept.target)
            yield from self.nest(range(self.outer, len(self.extents)), [store])

    def finish_block(self, totals: str, width: int, index: Index) -> Iterator[str]:
        """The value of every lane of the last axis, whose results are the vector `totals`; in a loop of its
        own, of which LLVM makes vectors."""
        room = self.name()
        yield f"{room} = room_for({self._zero()}, {width})"
        yield f"store_vector({room}, 0, {totals})"
        axis = self.outer - 1
        point = Point(index, f"{room}[{index[axis]}]")
        yield from self.nest([axis], [_stored(point, self.stage.value, self.stage.target)])

    def sets(self, width: int, axis: int, widest: int) -> int:
        """Sets of `width` totals that keep the arithmetic units busy when one alone does not; they take turns
        on the points of a reduction axis."""
        return next((n for n in (4, 2) if n * width <= widest and self.extents[axis] % n == 0), 1)

    def name(self) -> str:
        """A new name: Numba would unite the types of two uses of one."""
        return f"t{next(self._numbers)}"

    def _zero(self) -> str:
        reduction = self.stage.reduction
        return f"{reduction.operand.dtype if reduction else 'float32'}(0)"


def _stored(point: Point, value: Expression, target: Access) -> str:
    text = f"uint8({point.text(value)})" if value.dtype == "bool" else point.text(value)
    return f"{point.place(target)} = {text}"
