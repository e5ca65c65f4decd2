"""Terms of a sum read ahead: while one chunk of vectors is added up, the next is on its way."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from millstream.targets.gpu.assembler import ThreadAssembler, is_holdable
from millstream.targets.gpu.forms import VECTOR, vectors
from millstream.targets.gpu.items import Items
from millstream_runtime.kernels.assembler import Address, Index
from millstream_runtime.kernels.point import Point
from millstream_runtime.program import Expression, Reduction


def goes_ahead(items: Items, reduction: Reduction) -> bool:
    """Whether the chunks of a sum of `VECTOR` terms each are whole, and enough."""
    form, alone = items.form, len(reduction.extents) == 1 and reduction.kept is None
    return not form.neighbours and alone and reduction.extents[0] // form.parts % (2 * VECTOR) == 0


class Ahead:
    """Variables for the vectors of two chunks, the first chunk of a part read already.

    `point` is the first of an item with a sum of one axis.
    """

    def __init__(
        self, items: Items, operand: Expression, write: ThreadAssembler, point: Point, part: Index
    ) -> None:
        self._items, self._operand, self._write, self._point = items, operand, write, point
        self._axis, self._whole = items.form.axis, items.stage.all_extents[items.form.axis]
        self._count = self._whole // items.form.parts
        first = self._at(part.times(self._count))
        addresses = self._vectors(first)
        self._even, self._odd = ([write.room(address, VECTOR) for address in addresses] for _ in range(2))
        self._fetch(first, self._even)

    def part(self, part: Index, take: Callable[[Point], None]) -> None:
        """The terms of a part, two chunks at a time, `take` writing each.

        Behind the last chunk of a part the first of the next is read, or the last of all once more.
        """
        with self._write.repeated(self._count // (2 * VECTOR)) as running:
            place = part.times(self._count) + running.times(2 * VECTOR)
            behind = self._at(place.plus(VECTOR))
            self._fetch(behind, self._odd)
            self._take_held(self._at(place), self._even, take)
            number = self._write.least(place.plus(2 * VECTOR), self._whole - VECTOR)
            self._fetch(self._at(number), self._even)
            self._take_held(behind, self._odd, take)

    def _at(self, term: Index) -> Point:
        return self._point.at(self._axis, term)

    def _vectors(self, point: Point) -> list[Address]:
        """The vectors of a chunk from a point on: along the sum, and along the places."""
        form, items = self._items.form, self._items
        found: dict[Address, None] = {}
        for stream in range(form.streams):
            own = items.stream(point, stream)
            for load in vectors([self._operand], self._axis):
                found[own.address(load.access, load.dtype)] = None
            for step in range(VECTOR if form.width > 1 else 0):
                place = own.at(self._axis, own.index[self._axis].plus(step))
                for lane in range(0, form.width, VECTOR):
                    for load in vectors([self._operand], items.outer - 1):
                        found[items.lane(place, lane).address(load.access, load.dtype)] = None
        return [address for address in found if is_holdable(address)]

    def _fetch(self, point: Point, variables: Sequence[Sequence[str]]) -> None:
        for address, own in zip(self._vectors(point), variables, strict=True):
            self._write.fetch(address, own)

    def _take_held(
        self, point: Point, variables: Sequence[Sequence[str]], take: Callable[[Point], None]
    ) -> None:
        """The terms of a chunk that is in variables."""
        with self._write.holding():
            for address, own in zip(self._vectors(point), variables, strict=True):
                self._write.hold_as(address, own)
            for step in range(VECTOR):
                take(self._at(point.index[self._axis].plus(step)))
