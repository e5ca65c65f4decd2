"""One stage as the threads of a block share it: their numbers become points, streams and parts of sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from millstream.targets.gpu.assembler import ThreadAssembler, is_holdable
from millstream.targets.gpu.forms import VECTOR, Form, Tile, is_aligned, vectors
from millstream_runtime.kernels.assembler import Address, Index, Value
from millstream_runtime.kernels.point import Point
from millstream_runtime.kernels.reductions import COMBINE
from millstream_runtime.lanes import loads
from millstream_runtime.program import Access, Expression, Reduction, Stage, item_size, neutral

#: For each vector of a chunk of terms its variables, for even chunks and for odd ones.
_Chunks = tuple[Sequence[Sequence[str]], Sequence[Sequence[str]]]
#: Threads side by side that read neighbouring places before the next streams' turn.
_WARP = 32


def rounds(stage: Stage, form: Form, tile: Tile) -> int:
    """How often a block of threads goes to work until the stage is done."""
    return -(-_items(stage, form, tile) // _at_once(form, tile))


def part_bytes(stage: Stage, form: Form, tile: Tile) -> int:
    """Bytes of shared memory in which parts of sums meet."""
    if not form.shared or stage.reduction is None:
        return 0
    return _apart(form, tile) * form.streams * form.width * item_size(stage.reduction.operand.dtype)


def write_stage(stage: Stage, form: Form, tile: Tile, write: ThreadAssembler, turn: str) -> None:
    """Write one round, the one whose number is the text `turn`; all threads of the block come through.

    Behind it stands no barrier, but for what the round itself leaves in shared memory.
    """
    _Writer(stage, form, tile, write).round(turn)


def _items(stage: Stage, form: Form, tile: Tile) -> int:
    """What threads share out: tiles of points and streams."""
    count = tile.streams // form.streams
    for extent in stage.extents[1:]:
        count *= extent
    return count // form.width


def _at_once(form: Form, tile: Tile) -> int:
    """Of those, how many a block takes in one round."""
    return tile.threads // form.parts if form.shared else tile.threads


def _apart(form: Form, tile: Tile) -> int:
    """Elements from the parts of one of a thread's sums to those of the next, in shared memory."""
    return _at_once(form, tile) * (form.parts + 1) if form.neighbours else tile.threads


class _Writer:
    def __init__(self, stage: Stage, form: Form, tile: Tile, write: ThreadAssembler) -> None:
        self.stage, self.form, self.tile, self.write = stage, form, tile, write
        self.outer = len(stage.extents)
        self.items, self.at_once = _items(stage, form, tile), _at_once(form, tile)

    def round(self, turn: str) -> None:
        write, form, reduction = self.write, self.form, self.stage.reduction
        part, item = "0", "thread"
        if form.shared and form.neighbours:
            part = write.bind(f"T.bitwise_and(thread, {form.parts - 1})", "int32")
            item = write.bind(f"T.shift_right(thread, {form.parts.bit_length() - 1})", "int32")
        elif form.shared:
            item = write.bind(f"T.bitwise_and(thread, {self.at_once - 1})", "int32")
            part = write.bind(f"T.shift_right(thread, {self.at_once.bit_length() - 1})", "int32")
        place = write.bind(f"{turn} * {self.at_once} + {item}", "int32") if turn != "0" else item
        if reduction is None:
            with write.when(self._exists(place, turn)), write.holding():
                self._store(self._point(place), lambda stream, lane: None)
        elif form.shared:
            self._shared(reduction, place, item, part, turn)
        else:
            with write.when(self._exists(place, turn)), write.holding():
                point = self._point(place)
                totals = self._parts_alone(reduction, point)
                self._store(point, lambda stream, lane: totals(stream * form.width + lane))

    def _exists(self, place: str, turn: str) -> str | None:
        """The condition that there is such an item; None where all are."""
        if self.items % self.at_once == 0:
            return None
        return f"{place} < {self.items}"

    @property
    def _near(self) -> int:
        """Places that neighbouring threads take, before the same places of other streams are taken."""
        lanes = self.stage.extents[-1] // self.form.width if self.outer > 1 else 1
        return min(lanes & -lanes, _WARP)

    def _point(self, place: str) -> Point:
        """The first point of an item."""
        form, extents, near = self.form, self.stage.extents, self._near
        lanes = extents[-1] // form.width if self.outer > 1 else 1
        counts = [*extents[1:-1], lanes // near, self.tile.streams // form.streams, near]
        *others, far, stream, lane = self.write.split(place, counts)
        index = [stream.times(form.streams), *others]
        if self.outer > 1:
            # What a thread reads at once are vectors, one behind those of its neighbours.
            index.append(far.times(near * form.width) + lane.times(min(form.width, self._vector)))
        inner = len(self.stage.all_extents) - self.outer
        return Point(self.write, (*index, *(Index() for _ in range(inner))))

    @property
    def _vector(self) -> int:
        """Places of an item that lie side by side."""
        return 1 if self.form.neighbours else VECTOR

    def _lane(self, point: Point, lane: int) -> Point:
        """One of the places of an item."""
        last = self.outer - 1
        vector, within = divmod(lane, self._vector)
        return (
            point.at(last, point.index[last].plus(vector * self._near * self._vector + within))
            if last
            else point
        )

    # Sums.

    def _parts_alone(self, reduction: Reduction, point: Point) -> Callable[[int], Value]:
        """All parts of the sums of an item, one after the other."""
        form = self.form
        if form.parts == 1 or form.neighbours:
            sums = self._part(reduction, point, Index(), self._chunks(reduction, point, Index()))
            return lambda number: sums[number]
        dtype, totals = reduction.operand.dtype, self._array(reduction)
        chunks = self._chunks(reduction, point, Index())
        with self.write.loop(form.parts) as running, self.write.holding():
            sums = self._part(reduction, point, running, chunks)
            name, _ = running.terms[0]
            for number, value in enumerate(sums):
                joined = self.write.call(
                    COMBINE[reduction.kind], dtype, dtype, [f"{totals}[{number}]", value]
                )
                self.write.line(f"{totals}[{number}] = T.Select({name} == 0, {value}, {joined})")
        return lambda number: f"{totals}[{number}]"

    def _array(self, reduction: Reduction) -> str:
        """A new sum for every stream and place of an item."""
        name, dtype = self.write.name(), reduction.operand.dtype
        stored = "uint8" if dtype == "bool" else dtype
        size = self.form.streams * self.form.width
        self.write.line(f"{name} = T.alloc_buffer(({size},), '{stored}')")
        return name

    def _part(self, reduction: Reduction, point: Point, part: Index, chunks: _Chunks | None) -> list[Value]:
        """One part of every sum of an item; `chunks` where its terms are read ahead."""
        write, form = self.write, self.form
        sums, dtype = self._array(reduction), reduction.operand.dtype
        size = form.streams * form.width
        start = write.number(neutral(reduction.kind, dtype), dtype)
        if dtype == "bool":
            start = f"T.Cast('uint8', {start})"
        for number in range(size):
            write.line(f"{sums}[{number}] = {start}")
        others = [axis for axis in range(self.outer, len(self.stage.all_extents)) if axis != form.axis]
        with self._nest(others, point) as term:
            if form.neighbours and form.parts > 1:
                self._by_turns(reduction, term, part, sums)
            elif chunks:
                self._two_by_two(reduction, term, part, sums, chunks)
            else:
                self._one_by_one(reduction, term, part, sums)
        if dtype == "bool":
            return [f"({sums}[{number}] != T.uint8(0))" for number in range(size)]
        return [f"{sums}[{number}]" for number in range(size)]

    @contextmanager
    def _nest(self, axes: Sequence[int], point: Point) -> Iterator[Point]:
        if not axes:
            yield point
            return
        first, *rest = axes
        with (
            self._repeated(self.stage.all_extents[first]) as running,
            self._nest(rest, point.at(first, running)) as inner,
        ):
            yield inner

    @contextmanager
    def _repeated(self, count: int) -> Iterator[Index]:
        if count == 1:
            yield Index()
            return
        with self.write.loop(count) as running, self.write.holding():
            yield running

    def _one_by_one(self, reduction: Reduction, point: Point, part: Index, sums: str) -> None:
        """The terms of a part, those of all streams and places of the item at each step."""
        form, extent = self.form, self.stage.all_extents[self.form.axis] // self.form.parts
        ahead = VECTOR if extent % VECTOR == 0 else 1
        with self._repeated(extent // ahead) as running:
            place = part.times(extent) + running.times(ahead)
            if ahead > 1:
                for stream in range(form.streams):
                    own = point.at(0, point.index[0].plus(stream)).at(form.axis, place)
                    self._hold(self._terms(reduction), own, form.axis)
            for step in range(ahead):
                self._take(reduction, point.at(form.axis, place.plus(step)), sums)

    def _chunks(self, reduction: Reduction, point: Point, part: Index) -> _Chunks | None:
        """Variables for the vectors of two chunks of `VECTOR` terms, the first chunk of a part read already.

        None where chunks are not whole, or too few.
        """
        form, extent = self.form, self.stage.all_extents[self.form.axis] // self.form.parts
        alone = len(self.stage.all_extents) == self.outer + 1 and reduction.kept is None
        if form.neighbours or not alone or extent % (2 * VECTOR):
            return None
        first = point.at(form.axis, part.times(extent))
        addresses = self._vectors(reduction, first)
        even, odd = ([self.write.room(address, VECTOR) for address in addresses] for _ in range(2))
        self._fetch(reduction, first, even)
        return even, odd

    def _two_by_two(
        self, reduction: Reduction, point: Point, part: Index, sums: str, chunks: _Chunks
    ) -> None:
        """The terms of a part, two chunks at a time; while one is added up the next is on its way.

        Behind the last chunk of a part the first of the next is read, or the last of all once more.
        """
        form, whole = self.form, self.stage.all_extents[self.form.axis]
        extent, (even, odd) = whole // form.parts, chunks
        with self._repeated(extent // (2 * VECTOR)) as running:
            place = part.times(extent) + running.times(2 * VECTOR)
            behind = point.at(form.axis, place.plus(VECTOR))
            self._fetch(reduction, behind, odd)
            self._take_held(reduction, point.at(form.axis, place), sums, even)
            number = self.write.least(place.plus(2 * VECTOR), whole - VECTOR)
            self._fetch(reduction, point.at(form.axis, number), even)
            self._take_held(reduction, behind, sums, odd)

    def _vectors(self, reduction: Reduction, point: Point) -> list[Address]:
        """The vectors of a chunk from a point on: along the sum, and along the places."""
        form, last, found = self.form, self.outer - 1, {}
        for stream in range(form.streams):
            own = point.at(0, point.index[0].plus(stream))
            for load in vectors([reduction.operand], form.axis):
                found[own.address(load.access, load.dtype)] = None
            for step in range(VECTOR if form.width > 1 else 0):
                place = own.at(form.axis, own.index[form.axis].plus(step))
                for lane in range(0, form.width, VECTOR):
                    for load in vectors([reduction.operand], last):
                        found[self._lane(place, lane).address(load.access, load.dtype)] = None
        return [address for address in found if is_holdable(address)]

    def _fetch(self, reduction: Reduction, point: Point, variables: Sequence[Sequence[str]]) -> None:
        for address, own in zip(self._vectors(reduction, point), variables, strict=True):
            self.write.fetch(address, own)

    def _take_held(
        self, reduction: Reduction, point: Point, sums: str, variables: Sequence[Sequence[str]]
    ) -> None:
        """The terms of a chunk that is in variables."""
        with self.write.holding():
            for address, own in zip(self._vectors(reduction, point), variables, strict=True):
                self.write.hold_as(address, own)
            for step in range(VECTOR):
                place = point.index[self.form.axis].plus(step)
                self._take(reduction, point.at(self.form.axis, place), sums)

    def _terms(self, reduction: Reduction) -> list[Expression]:
        return [reduction.operand] + ([reduction.kept.value] if reduction.kept else [])

    def _take(self, reduction: Reduction, point: Point, sums: str) -> None:
        """One term of every sum of the item."""
        form = self.form
        for stream in range(form.streams):
            own = point.at(0, point.index[0].plus(stream))
            self._hold_lanes(self._terms(reduction), own)
            self._hold_single(reduction, own)
            kept = self._keep(reduction, own)
            for lane in range(form.width):
                self._add(reduction, self._lane(own, lane), kept[lane], sums, stream * form.width + lane)

    def _hold_single(self, reduction: Reduction, point: Point) -> None:
        """What all places of an item share."""
        last = self.outer - 1
        for expression in self._terms(reduction):
            for load in loads(expression):
                if not load.access.lookups and (last == 0 or not load.access.strides[last]):
                    self.write.hold(point.address(load.access, load.dtype), 1)

    def _hold(self, expressions: Sequence[Expression], point: Point, axis: int) -> None:
        """Read whole vectors along an axis."""
        for load in vectors(expressions, axis):
            self.write.hold(point.address(load.access, load.dtype), VECTOR)

    def _hold_lanes(self, expressions: Sequence[Expression], point: Point) -> None:
        """Read what the places of an item need, in whole vectors."""
        for lane in range(0, self.form.width - 1, VECTOR):
            self._hold(expressions, self._lane(point, lane), self.outer - 1)

    def _keep(self, reduction: Reduction, point: Point) -> list[Value | None]:
        """What the reduction keeps at the places of an item, stored, and its values."""
        width, kept = self.form.width, reduction.kept
        if kept is None:
            return [None] * width
        dtype = kept.value.dtype
        values = [self._bound(self._lane(point, lane).value(kept.value), dtype) for lane in range(width)]
        self._put(kept.target, dtype, [self._lane(point, lane) for lane in range(width)], values)
        return list(values)

    def _bound(self, value: Value, dtype: str) -> Value:
        return value if dtype == "bool" else self.write.bind(value, dtype)

    def _add(self, reduction: Reduction, point: Point, stored: Value | None, sums: str, number: int) -> None:
        dtype, total = reduction.operand.dtype, f"{sums}[{number}]"
        before = f"({total} != T.uint8(0))" if dtype == "bool" else total
        term = point.value(reduction.operand, stored)
        joined = self.write.call(COMBINE[reduction.kind], dtype, dtype, [before, term])
        self.write.line(f"{total} = {_stored(joined, dtype)}")

    def _by_turns(self, reduction: Reduction, point: Point, part: Index, sums: str) -> None:
        """Every `parts`th term, or vector of terms, of every sum of the item."""
        form, width = self.form, VECTOR if self.form.whole else 1
        with self._repeated(self.stage.all_extents[form.axis] // (form.parts * width)) as running:
            place = running.times(form.parts * width) + part.times(width)
            rows = [self._lane(point, row).at(form.axis, place) for row in range(form.width)]
            if form.whole:
                for row in rows:
                    self._hold(self._terms(reduction), row, form.axis)
            for number, row in enumerate(rows):
                self._take_vector(reduction, row, width, sums, number)

    def _take_vector(self, reduction: Reduction, point: Point, width: int, sums: str, number: int) -> None:
        """`width` neighbouring terms of one sum."""
        axis, kept = self.form.axis, reduction.kept
        steps = [point.at(axis, point.index[axis].plus(step)) for step in range(width)]
        values: list[Value | None] = [None] * width
        if kept:
            dtype = kept.value.dtype
            found = [self._bound(step.value(kept.value), dtype) for step in steps]
            self._put(kept.target, dtype, steps, found)
            values = list(found)
        for step, value in zip(steps, values, strict=True):
            self._add(reduction, step, value, sums, number)

    # Sums whose parts have a thread each.

    def _shared(self, reduction: Reduction, place: str, item: str, part: str, turn: str) -> None:
        write, dtype = self.write, reduction.operand.dtype
        with write.when(self._exists(place, turn)), write.holding():
            index = Index(0, ((part, 1),))
            point = self._point(place)
            chunks = self._chunks(reduction, point, index)
            for number, value in enumerate(self._part(reduction, point, index, chunks)):
                write.line(
                    f"{write.part(dtype, self._meeting(item, part, number))} = {_stored(value, dtype)}"
                )
        write.barrier()
        self._join(reduction, turn)

    def _meeting(self, item: str, part: str, number: int) -> str:
        """Where a part of a sum lies in shared memory: threads that write together hit different banks."""
        begin = f" + {number * _apart(self.form, self.tile)}" if number else ""
        if self.form.neighbours:
            return f"{item} * {self.form.parts + 1} + {part}{begin}"
        return f"{part} * {self.at_once} + {item}{begin}"

    def _join(self, reduction: Reduction, turn: str) -> None:
        """The parts of every sum joined in their order, by as many threads as there are sums."""
        write, form = self.write, self.form
        size = form.streams * form.width
        results = size * self.at_once
        for first in range(0, results, self.tile.threads):
            number = write.bind(f"thread + {first}" if first else "thread", "int32")
            item, which = number, "0"
            if size > 1:
                item = write.bind(f"T.bitwise_and({number}, {self.at_once - 1})", "int32")
                which = write.bind(f"T.shift_right({number}, {self.at_once.bit_length() - 1})", "int32")
            place = write.bind(f"{turn} * {self.at_once} + {item}", "int32") if turn != "0" else item
            conditions = []
            if self.items % self.at_once:
                conditions.append(f"{place} < {self.items}")
            if first + self.tile.threads > results:
                conditions.append(f"{number} < {results}")
            condition = f"T.And({', '.join(conditions)})" if len(conditions) == 2 else "".join(conditions)
            with write.when(condition or None), write.holding():
                total = self._joined(reduction, item, which)
                point = self._point(place)
                if size > 1:
                    vectors = -(-form.width // self._vector)
                    counts = [form.streams, vectors, form.width // vectors]
                    stream, vector, lane = write.split(which, counts)
                    point = point.at(0, point.index[0] + stream)
                    if self.outer > 1:
                        last = self.outer - 1
                        far = vector.times(self._near * self._vector)
                        point = point.at(last, point.index[last] + far + lane)
                value = point.value(self.stage.value, total)
                self._put(self.stage.target, self.stage.value.dtype, [point], [value])

    def _joined(self, reduction: Reduction, item: str, which: str) -> Value:
        write, form, dtype = self.write, self.form, reduction.operand.dtype
        step = (form.parts + 1, 1) if form.neighbours else (1, self.at_once)
        begin = write.bind(f"{which} * {_apart(form, self.tile)} + {item} * {step[0]}", "int32")
        places = [f"{begin} + {part * step[1]}" for part in range(form.parts)]
        total: Value = None
        for place in places:
            value = write.part(dtype, place)
            value = f"({value} != T.uint8(0))" if dtype == "bool" else value
            total = (
                value if total is None else write.call(COMBINE[reduction.kind], dtype, dtype, [total, value])
            )
            total = self._bound(total, dtype)
        return total

    # Values.

    def _store(self, point: Point, result: Callable[[int, int], Value]) -> None:
        """The values of an item, each from the result of its sum."""
        form, value = self.form, self.stage.value
        for stream in range(form.streams):
            own = point.at(0, point.index[0].plus(stream))
            self._hold_lanes([value], own)
            lanes = [self._lane(own, lane) for lane in range(form.width)]
            values = [
                self._bound(lane.value(value, result(stream, number)), value.dtype)
                for number, lane in enumerate(lanes)
            ]
            self._put(self.stage.target, value.dtype, lanes, values)

    def _put(self, target: Access, dtype: str, points: Sequence[Point], values: Sequence[Value]) -> None:
        """Values stored, as whole vectors where they may."""
        for first in range(0, len(points), VECTOR):
            some, stored = points[first : first + VECTOR], values[first : first + VECTOR]
            addresses = [point.address(target, dtype) for point in some]
            if dtype != "bool" and item_size(dtype) <= 4 and _is_vector(target, addresses):
                self.write.store_vector(addresses[0], stored)
                continue
            for address, value in zip(addresses, stored, strict=True):
                self.write.store(address, value)


def _is_vector(target: Access, addresses: Sequence[Address]) -> bool:
    """Whether these are a whole vector along an axis."""
    first = addresses[0].index
    follow = all(address.index == first.plus(n) for n, address in enumerate(addresses))
    aligned = any(is_aligned(target, axis) for axis in range(len(target.strides)))
    return len(addresses) == VECTOR and follow and aligned


def _stored(value: Value, dtype: str) -> str:
    return f"T.Cast('uint8', {value})" if dtype == "bool" else value
