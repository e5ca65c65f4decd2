"""The loops of one stage: nests, tiles, sweeps of one axis in vectors, and stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from millstream_runtime.kernels.assembler import Assembler, Index, Value
from millstream_runtime.kernels.forms import has_vector_form
from millstream_runtime.kernels.point import Point
from millstream_runtime.lanes import MIN_LANES, chunks
from millstream_runtime.program import Access, Expression, Stage

#: Registers of totals that hide the time of one addition.
_REGISTERS = 4


class Loops:
    """One stage and what it is written with. Axes are numbered as in the stage, the reduction's last."""

    def __init__(self, stage: Stage, write: Assembler) -> None:
        self.stage = stage
        self.write = write
        self.outer = len(stage.extents)
        self.extents = stage.all_extents
        self.origin = Point(write, (Index(),) * len(self.extents))

    @contextmanager
    def nest(self, axes: Iterable[int], point: Point) -> Iterator[Point]:
        """Loops over `axes`; gives the running point. An axis of one point needs no loop."""
        with ExitStack() as stack:
            for axis in axes:
                if self.extents[axis] > 1:
                    running = stack.enter_context(self.write.loop(self.extents[axis]))
                    point = point.at(axis, running)
            yield point

    def sweep(self, axis: int, registers: int, point: Point, body: Callable[[Point], None]) -> None:
        """Every point of one axis: in vectors, then what is left one by one."""
        lanes = self.write.machine.lanes
        for start, count, width in chunks(self.extents[axis], lanes, registers):
            count, width = (count, width) if width >= MIN_LANES else (count * width, 1)
            with self.repeated(count) as running:
                body(point.at(axis, running.times(width).plus(start)).along(axis, width))

    def tiles(self, axis: int | None, body: Callable[[Sequence[Point]], None]) -> None:
        """Every point of all outer axes but the lanes, those of `axis` several at a time, as many as
        `rows`."""
        others = [other for other in range(self.outer - 1) if other != axis]
        with self.nest(others, self.origin) as point:
            if axis is None:
                body([point])
                return
            rows = self.write.machine.rows
            whole, rest = divmod(self.extents[axis], rows)
            if whole:
                with self.repeated(whole) as running:
                    body([point.at(axis, running.times(rows).plus(row)) for row in range(rows)])
            if rest:
                body([point.at(axis, Index(whole * rows + row)) for row in range(rest)])

    @contextmanager
    def repeated(self, count: int) -> Iterator[Index]:
        """A loop, or none where there is nothing to repeat; gives the running index."""
        if count == 1:
            yield Index()
        else:
            with self.write.loop(count) as running:
                yield running

    def store(self, point: Point, result: Value | None = None) -> None:
        """The value stored; `result` is that of the reduction."""
        _store(self.write, point, self.stage.value, self.stage.target, result)

    def keep(self, point: Point) -> Value | None:
        """What the reduction keeps at a point, stored. The value, where memory has it but rounded."""
        kept, write = self.stage.reduction and self.stage.reduction.kept, self.write
        if not kept:
            return None
        if not kept.is_rounded:
            _store(write, point, kept.value, kept.target)
            return None
        dtype, width = kept.exact.dtype, point.width
        # Through a variable: a sum must not take it in as a product here, and as memory elsewhere.
        exact = write.variable(point.value(kept.exact), dtype, width).get()
        rounded = write.call("cast", dtype, kept.value.dtype, [exact], width)
        write.store(point.address(kept.target, kept.value.dtype), rounded, width)
        return exact

    def vectors_along(self, axis: int) -> bool:
        """True when the value can be stored as vectors along `axis`."""
        wide = min(self.stage.extents[axis], self.write.machine.lanes) >= MIN_LANES
        return wide and self.stage.target.strides[axis] == 1 and has_vector_form(self.stage.value)

    def finish_block(self, point: Point, result: Value, dtype: str) -> None:
        """The value of every lane of the last axis; `result` has them all."""
        axis, width = self.outer - 1, self.extents[self.outer - 1]
        one_register = min(width, self.write.machine.lanes)
        if self.vectors_along(axis) and width % one_register == 0:
            self._store_by_registers(point, result, dtype, one_register)
            return
        lanes = self.write.array(result, dtype, width)
        with self.nest([axis], point) as each:
            self.store(each, lanes.at(each.index[axis]))

    def _store_by_registers(self, point: Point, result: Value, dtype: str, lanes: int) -> None:
        axis, width = self.outer - 1, self.extents[self.outer - 1]
        if width == lanes:
            self.store(point.along(axis, width), result)
            return
        array = self.write.array(result, dtype, width)
        for first in range(0, width, lanes):
            place = point.at(axis, Index(first)).along(axis, lanes)
            self.store(place, array.at(Index(first), lanes))

    def take_turns(self, last: int, sets: int, take: Callable[[int, tuple[Index, ...]], None]) -> None:
        """Every point of the reduction's axes up to `last`: `take` gets the number of the set whose turn it
        is, and the indices of those axes."""
        with (
            self.nest(range(self.outer, last), self.origin) as reduced,
            self.repeated(self.extents[last] // sets) as running,
        ):
            for number in range(sets):
                place = reduced.at(last, running.times(sets).plus(number))
                take(number, place.index[self.outer :])

    def sets(self, width: int, axis: int) -> int:
        """Sets of `width` totals that keep the arithmetic units busy when one alone does not.

        They take turns on the points of a reduction axis. How many there are decides on the order of a sum,
        so it must not depend on what else is computed beside it.
        """
        most = _REGISTERS * self.write.machine.lanes
        fits = (n for n in (8, 4, 2) if n * width <= most and self.extents[axis] % n == 0)
        return next(fits, 1)


def _store(
    write: Assembler, point: Point, value: Expression, target: Access, result: Value | None = None
) -> None:
    write.store(point.address(target, value.dtype, result), point.value(value, result), point.width)
