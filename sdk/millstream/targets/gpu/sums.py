"""The sums of an item: terms taken one by one, as a reader brings them, or by turns with other threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from millstream.targets.gpu.ahead import Ahead, goes_ahead
from millstream.targets.gpu.assembler import ThreadAssembler
from millstream.targets.gpu.dots import words_in
from millstream.targets.gpu.forms import VECTOR
from millstream.targets.gpu.items import Items
from millstream.targets.gpu.staging import Staging
from millstream.targets.gpu.values import bound, hold, hold_lanes, put
from millstream.targets.tvm.literal import loaded, stored, stored_dtype
from millstream_runtime.kernels.assembler import Index, Value
from millstream_runtime.kernels.point import Point
from millstream_runtime.kernels.reductions import COMBINE
from millstream_runtime.lanes import loads
from millstream_runtime.program import Expression, Kept, Reduction, neutral


class Sums:
    """What writes the sums of an item, whose first point is given to each of its methods."""

    def __init__(self, items: Items, reduction: Reduction, write: ThreadAssembler) -> None:
        self._items, self._reduction, self._write = items, reduction, write
        self._form, self._extents = items.form, items.stage.all_extents
        self._dtype = reduction.operand.dtype

    def all_parts(self, point: Point) -> Callable[[int], Value]:
        """All parts of every sum, one after the other; the sums by number."""
        form = self._form
        reader = self._reader(point, Index())
        if form.parts == 1 or form.neighbours:
            return self._part(point, Index(), reader).__getitem__
        totals = self._array()
        with self._write.loop(form.parts) as running, self._write.holding():
            sums = self._part(point, running, reader)
            name, _ = running.terms[0]
            for number, value in enumerate(sums):
                joined = self._combined([f"{totals}[{number}]", value])
                self._write.line(f"{totals}[{number}] = T.Select({name} == 0, {value}, {joined})")
        return lambda number: f"{totals}[{number}]"

    def part(self, point: Point, part: Index) -> list[Value]:
        """One part of every sum."""
        return self._part(point, part, self._reader(point, part))

    def _reader(self, point: Point, part: Index) -> Staging | Ahead | None:
        """What brings the terms of a part, and of those behind it, before they are needed."""
        if self._items.panels:
            return Staging(self._items, self._write, point)
        if goes_ahead(self._items, self._reduction):
            return Ahead(self._items, self._reduction.operand, self._write, point, part)
        return None

    def _combined(self, values: Sequence[Value]) -> Value:
        return self._write.call(COMBINE[self._reduction.kind], self._dtype, self._dtype, values)

    def _array(self) -> str:
        """New variables for the sums."""
        name = self._write.name()
        self._write.line(f"{name} = T.alloc_buffer(({self._items.sums},), '{stored_dtype(self._dtype)}')")
        return name

    def _part(self, point: Point, part: Index, reader: Staging | Ahead | None) -> list[Value]:
        """One part of every sum; `reader` where its terms are brought to it."""
        sums, form = self._array(), self._form
        start = self._write.number(neutral(self._reduction.kind, self._dtype), self._dtype)
        for number in range(self._items.sums):
            self._write.line(f"{sums}[{number}] = {stored(start, self._dtype)}")
        outer = self._items.outer
        others = [axis for axis in range(outer, len(self._extents)) if axis != form.axis]
        with self._nest(others, point) as term:
            if form.neighbours and form.parts > 1:
                self._by_turns(term, part, sums)
            elif reader:
                reader.part(part, lambda point: self._take(point, sums))
            else:
                self._one_by_one(term, part, sums)
        return [loaded(f"{sums}[{number}]", self._dtype) for number in range(self._items.sums)]

    @contextmanager
    def _nest(self, axes: Sequence[int], point: Point) -> Iterator[Point]:
        if not axes:
            yield point
            return
        first, *rest = axes
        with (
            self._write.repeated(self._extents[first]) as running,
            self._nest(rest, point.at(first, running)) as inner,
        ):
            yield inner

    def _one_by_one(self, point: Point, part: Index, sums: str) -> None:
        """The terms of a part, those of all streams and places of the item at each step."""
        form, extent = self._form, self._extents[self._form.axis] // self._form.parts
        ahead = VECTOR if extent % VECTOR == 0 else 1
        with self._write.repeated(extent // ahead) as running:
            place = part.times(extent) + running.times(ahead)
            if ahead > 1:
                for stream in range(form.streams):
                    own = self._items.stream(point, stream).at(form.axis, place)
                    hold(self._write, self._terms, own, form.axis)
            for step in range(ahead):
                self._take(point.at(form.axis, place.plus(step)), sums)

    @property
    def _terms(self) -> list[Expression]:
        kept = self._reduction.kept
        return [self._reduction.operand] + ([kept.value] if kept else [])

    def _take(self, point: Point, sums: str) -> None:
        """One term of every sum of the item."""
        items, width = self._items, self._form.width
        for stream in range(self._form.streams):
            own = items.stream(point, stream)
            hold_lanes(items, self._write, self._terms, own)
            self._hold_single(own)
            lanes = [items.lane(own, lane) for lane in range(width)]
            for number, (lane, kept) in enumerate(zip(lanes, self._keep(lanes), strict=True)):
                self._add(lane, kept, f"{sums}[{stream * width + number}]")

    def _hold_single(self, point: Point) -> None:
        """Read what all places of an item share."""
        last = self._items.outer - 1
        for load in (load for expression in self._terms for load in loads(expression)):
            if not load.access.lookups and (last == 0 or not load.access.strides[last]):
                self._write.hold(point.address(load.access, load.dtype), 1)

    def _keep(self, points: Sequence[Point]) -> list[Value | None]:
        """What the reduction keeps at points, stored, and its values."""
        kept = self._reduction.kept
        if kept is None:
            return [None] * len(points)
        values = [bound(self._write, point.value(kept.exact), kept.exact.dtype) for point in points]
        put(self._write, kept.target, kept.value.dtype, points, self._rounded(kept, values))
        return list(values)

    def _rounded(self, kept: Kept, values: Sequence[Value]) -> Sequence[Value]:
        """Values as memory keeps them."""
        if not kept.is_rounded:
            return values
        to = kept.value.dtype
        cast = (self._write.call("cast", kept.exact.dtype, to, [value]) for value in values)
        return [bound(self._write, value, to) for value in cast]

    def _add(self, point: Point, kept: Value | None, total: str) -> None:
        """The term at a point into a sum."""
        before, words = loaded(total, self._dtype), words_in(self._reduction.operand)
        if words:
            joined = self._write.dot(before, *map(point.value, words), lanes=1)
        else:
            joined = self._combined([before, point.value(self._reduction.operand, kept)])
        self._write.line(f"{total} = {stored(joined, self._dtype)}")

    def _by_turns(self, point: Point, part: Index, sums: str) -> None:
        """Every `parts`th term, or vector of terms, of every sum of the item."""
        form, width = self._form, VECTOR if self._form.whole else 1
        with self._write.repeated(self._extents[form.axis] // (form.parts * width)) as running:
            place = running.times(form.parts * width) + part.times(width)
            rows = [self._items.lane(point, row).at(form.axis, place) for row in range(form.width)]
            if form.whole:
                for row in rows:
                    hold(self._write, self._terms, row, form.axis)
            for number, row in enumerate(rows):
                steps = [row.at(form.axis, place.plus(step)) for step in range(width)]
                for step, kept in zip(steps, self._keep(steps), strict=True):
                    self._add(step, kept, f"{sums}[{number}]")
